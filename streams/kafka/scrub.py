"""After erasures: take the erased bytes out of a partition's local files, beside its turns.

Whoever is newer in memory than in the store is written, since the store's record may still name the erased, and timer
keys of the erased are purged: between turns, a few at a time. The files are rewritten while turns go on (RocksDB allows
that, and rocksdict lets other threads run meanwhile); only closing and opening needs a moment between turns.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

from state.behind import Behind
from state.store_errors import StoreError
from streams.kafka.share import FairShare
from streams.kafka.writer import PartitionWriter

log = logging.getLogger(__name__)
T = TypeVar("T")

#: timer keys or users looked at between two turns, at most
PURGE_TIMERS = 2_000
#: seconds that turns have between two such looks, at most
_MOST_PAUSE = 1.0


class Scrubber:
    """Of one partition. ``turn`` is held by whoever uses the writer; ``slow`` is for what may take minutes."""

    def __init__(self, writer: PartitionWriter, executor: Executor, slow: Executor, turn: asyncio.Lock) -> None:
        self._writer = writer
        self._executor = executor
        self._slow = slow
        self._turn = turn
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    def poll(self) -> None:
        """Begin when it is due. Raises what ended the last one: then the store is not open any more."""
        if self._task is not None:
            if not self._task.done():
                return
            self._task.result()
            self._task = None
        if self._writer.scrub_due:
            self._task = asyncio.create_task(self._scrub(), name=f"scrub-{self._writer.place.partition}")

    async def stop(self) -> None:
        """End what is under way; what was not done is due again after the next start."""
        self._stopping = True
        if self._task is None:
            return
        async with self._turn:  # not while the store is being opened anew
            if not self._task.done():
                self._writer.store.stop_compacting()
        await asyncio.wait([self._task])

    async def _scrub(self) -> None:
        store, behind, began = self._writer.store, self._writer.behind, time.monotonic()
        erasures = store.erasures
        try:
            await self._in_pieces(partial(_catch_up, behind), behind.commits)
            await self._in_pieces(behind.purge_timers, b"t")
            await asyncio.get_running_loop().run_in_executor(self._slow, store.compact)
            await self._between_turns(partial(self._writer.end_scrub, erasures))
        except _StoppedError:
            return
        except StoreError:
            if not self._stopping:
                raise
            return
        log.info(
            "partition %d: the local files were rewritten in %.1f s, without who was erased",
            self._writer.place.partition, time.monotonic() - began,
        )  # fmt: skip

    async def _in_pieces(self, piece: Callable[[T, int], T | None], start: T) -> None:
        """``piece`` gets where to go on and how much to do, and gives where to go on; None at the end."""
        at: T | None = start
        share = FairShare(PURGE_TIMERS)
        while at is not None:
            at, took = await self._between_turns(partial(_timed, partial(piece, at, share.size)))
            share.took(took, time.monotonic(), share.size)
            await asyncio.sleep(min(share.pause(took), _MOST_PAUSE))

    async def _between_turns(self, do: Callable[[], T]) -> T:
        async with self._turn:
            if self._stopping:
                raise _StoppedError
            return await asyncio.get_running_loop().run_in_executor(self._executor, do)


def _timed(do: Callable[[], T]) -> tuple[T, float]:
    began = time.monotonic()
    return do(), time.monotonic() - began


def _catch_up(behind: Behind, commits: int, most: int) -> int | None:
    return None if behind.go_on(commits, most) else commits


class _StoppedError(Exception):
    """The partition leaves this worker."""
