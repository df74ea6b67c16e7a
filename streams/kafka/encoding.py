"""Runs the models over a batch of the encode lane, and knows what to do when they fail.

A batch that fails is halved until the users that it fails on stand alone, so one poisonous text holds up nobody else.
Such a text is encoded as if it were empty: it counts, and says nothing. When the encoder fails on a harmless text as
well, it is not the batch's fault: then nothing is given up, and the lane tries again later.
"""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import logging
from collections.abc import Callable
from concurrent.futures import Executor
from itertools import count

from state.user import PendingText
from streams.ops.metrics import Metrics
from streams.steps import encode
from streams.steps.in_force import InForce

log = logging.getLogger(__name__)

#: pauses in seconds before a user whose job failed alone is tried again
_ALONE_AFTER = (0.1, 0.5)


class EncoderAwayError(RuntimeError):
    """The text encoder works on nothing at all now; the same batch can be tried again."""


class BatchEncoder:
    """``encode.compute`` in the encoding thread, batch by batch."""

    def __init__(self, definitions: Callable[[], InForce], metrics: Metrics, executor: Executor) -> None:
        self._definitions = definitions
        self._metrics = metrics
        self._executor = executor
        self._probes = count()

    async def compute(self, jobs: list[encode.Job]) -> list[encode.Job | None]:
        """The jobs with their outcome, in order; None for a user on whom the models fail without any text.

        Raises EncoderAwayError.
        """
        done = await self._try(jobs)
        if done is not None:
            return [*done]
        await self._probe()
        if len(jobs) > 1:
            half = len(jobs) // 2
            return [*await self.compute(jobs[:half]), *await self.compute(jobs[half:])]
        return [await self._alone(jobs[0])]

    async def _try(self, jobs: list[encode.Job]) -> list[encode.Job] | None:
        """None when the models failed. They write into copies: what a failure left half done is thrown away."""
        copies = [dataclasses.replace(job, vectors=copy.copy(job.vectors), directions=[]) for job in jobs]
        try:
            now = self._definitions()
            await self._run(encode.compute, now.models, copies, now.plan.needs_vectors)
        except Exception as error:
            self._metrics.encode_failures.inc()
            log.warning("encoding %d users failed: %s: %s", len(jobs), type(error).__name__, error)
            return None
        return copies

    async def _probe(self) -> None:
        """A new text each time: known ones come from the encoder's cache."""
        try:
            await self._run(self._definitions().models.encoders.text.encode, [f"probe {next(self._probes)}"])
        except Exception as error:
            raise EncoderAwayError(f"the text encoder does not work: {type(error).__name__}: {error}") from error

    async def _alone(self, job: encode.Job) -> encode.Job | None:
        for pause in _ALONE_AFTER:
            await asyncio.sleep(pause)
            if (done := await self._try([job])) is not None:
                return done[0]
        await self._probe()
        texts = [text if await self._readable(text.text) else blank(text) for text in job.texts]
        done = await self._try([dataclasses.replace(job, texts=texts)])
        if done is None:
            await self._probe()
            self._metrics.encode_set_aside.inc()
            log.error("the models fail on one user whatever the texts; set aside until the partition is opened again")
            return None
        return done[0]

    async def _readable(self, text: str) -> bool:
        try:
            await self._run(self._definitions().models.encoders.text.encode, [text])
        except Exception as error:
            self._metrics.texts_skipped.inc()
            log.warning("a text of %d characters is skipped: %s: %s", len(text), type(error).__name__, error)
            return False
        return True

    async def _run(self, call: Callable[..., object], *arguments: object) -> None:
        await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)


def blank(text: PendingText) -> PendingText:
    """The text as an empty one, which has the zero vector: the direction of what the user wrote stays."""
    return PendingText(text.id, text.time, "", text.arrived)
