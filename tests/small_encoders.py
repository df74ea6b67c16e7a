"""An encoders' process without torch, for tests: ``python -m tests.small_encoders FD``."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from functools import partial

import numpy as np

from encoders.base import F32, I64, Halves, Served
from encoders.pipe import Measure, Setup
from encoders.precision import Measured
from encoders.process import EncodingProcess, start_child
from encoders.serving import Models, run


class Lengths:
    """A text encoder that can be looked through: length of the text and process id; it fails on one text, is killed by
    another, and takes its time for a third."""

    dim = 2

    def __init__(self, name: str) -> None:
        self.version = name

    def weights(self) -> dict[str, F32]:
        return {}

    def encode(self, texts: Sequence[str]) -> F32:
        if "poison" in texts:
            raise ValueError("poisonous")
        if "deadly" in texts:
            os.kill(os.getpid(), signal.SIGKILL)
        if "slow" in texts:
            time.sleep(30.0)
        if "places" in texts:
            return np.full((len(texts), 2), len(os.sched_getaffinity(0)), np.float32)
        return np.array([(len(text), os.getpid()) for text in texts], np.float32).reshape(-1, 2)


class Sums:
    """Layers that add: the layer's number, the own numbers and those of all followees."""

    def layer(self, number: int, own: F32, followees: Halves, dst: I64) -> F32:
        out = own + np.float32(number)
        np.add.at(out, dst, followees.astype(np.float32))
        return out


class SmallModels(Models):
    """``text_model`` says what happens: ``none`` cannot be used, ``deadly`` ends the process, a file names what it is
    now."""

    def load(self) -> None: ...

    def make(self, setup: Setup) -> tuple[Served, bool]:
        if setup.text_model == "none":
            raise FileNotFoundError("text model: no config.json")
        if setup.text_model == "deadly":
            os._exit(4)
        name = setup.text_model
        if os.path.isfile(name):
            with open(name, encoding="utf-8") as file:
                name = file.read()
        return Served(Lengths(name), Sums()), setup.device == "cpu"

    def measure(self, request: Measure) -> list[Measured]:
        self.make(Setup(request.text_model))
        return [Measured("float32", 1.0, 1.0), Measured("bf16", 0.5, 0.9999)]


def small_process(text_model: str = "lengths-1", threads: int = 1, device: str = "cpu") -> EncodingProcess:
    """One that is set up."""
    process = EncodingProcess(start_small)
    process.set_up(Setup(text_model, device, threads))
    return process


start_small = partial(start_child, "tests.small_encoders")

if __name__ == "__main__":
    run(SmallModels())
