"""Loads the models: in a process of their own for a worker, here for who works beside the workers."""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Sequence

from encoders.artifact import load_encoders
from encoders.base import F32, Precision, Served, TextEncoder, WrappedText
from encoders.pipe import setup_of
from encoders.precision import Choice
from encoders.process import EncodingProcess, choose_here
from streams.ops.lifetime import Lifetime
from streams.settings import Settings
from streams.steps.models import Models, make_models
from streams.steps.segments import Plan

log = logging.getLogger(__name__)


class WorkerError(RuntimeError):
    """The worker cannot go on; the message says why."""


def measured(settings: Settings, life: Lifetime | None = None) -> Choice:
    """What texts had best be encoded in on this machine; takes some seconds. Raises WorkerError."""
    process = encoding_process(life)
    try:
        return choose_here(process, settings.text_model, settings.device)
    except Exception as error:  # as below
        raise unusable_models(error) from error
    finally:
        process.close()


def encoding_process(life: Lifetime | None) -> EncodingProcess:
    """A new one, for the life of a worker at most."""
    process = EncodingProcess()
    if life is not None:
        life.opened("encoders' process", process.close, process.kill)
    return process


def unusable_models(error: Exception) -> WorkerError:
    """In a sentence."""
    log.debug("the models cannot be used", exc_info=error)
    return WorkerError(f"the models cannot be used: {' '.join(str(error).split())}")


def load_models(settings: Settings, plan: Plan, precision: Precision, process: EncodingProcess | None = None) -> Models:
    """Encoders and description vectors. What needs torch is loaded in ``process``; None: here, with torch.

    Raises WorkerError where the models cannot be used.
    """

    def serve(layers: dict[str, F32]) -> Served:
        assert process is not None
        process.set_up(setup_of(settings.text_model, settings.device, settings.torch_threads, precision, layers))
        return Served(process, process)

    try:
        encoders = load_encoders(
            settings.text_model, settings.encoder_artifact, settings.device, settings.torch_threads,
            text_precision=precision, serve=serve if process is not None else None,
        )  # fmt: skip
        models = make_models(encoders, plan)
    except Exception as error:  # whatever the libraries raise for files that are no model, or for a device
        raise unusable_models(error) from error
    if pause := float(os.environ.get("SEGMENTS_TEST_SLOW_ENCODER", "0")):
        return dataclasses.replace(models, encoders=dataclasses.replace(encoders, text=SlowText(encoders.text, pause)))
    return models


class SlowText(WrappedText):
    """For tests of backpressure: a text encoder that sleeps ``seconds`` before each batch."""

    def __init__(self, encoder: TextEncoder, seconds: float) -> None:
        super().__init__(encoder)
        self._seconds = seconds

    def encode(self, texts: Sequence[str]) -> F32:
        time.sleep(self._seconds)
        return self._encoder.encode(texts)
