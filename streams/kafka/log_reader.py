"""The committed records of one partition, for a thread that does nothing but read them: whole batches, cut in C.

The next fetch is under way while the thread works on what the one before brought. So much of a partition is in memory
at once: two answers (``FETCH_BYTES`` each, or one batch), and the unpacked batches of one part (``PART_BYTES``, or one
batch).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, NoReturn

import uvloop
from aiokafka.consumer.fetcher import READ_COMMITTED
from aiokafka.structs import TopicPartition

from streams.kafka.batches import Batch, UnreadableError
from streams.kafka.fetched import Batches, FetchedPartition, Patience, WrongChecksumError
from streams.kafka.log_source import Answer, LogError, Source

#: what is handed on at once, unpacked: little enough to stay in the processor's cache, and for Python's lock to be held
#: for two milliseconds or so while it is put into a store
PART_BYTES: Final = 1024 * 1024


class _Part(FetchedPartition):
    """Of a log that nobody else can mend: what is damaged ends the reading."""

    def _damaged(self, raw: memoryview, first: int, after: int, error: Exception | str) -> NoReturn:
        tp = self._tp
        raise LogError(f"{tp.topic}-{tp.partition} is damaged: offsets {first} to {after - 1} cannot be read: {error}")


class LogReader:
    """Reads from ``offset`` on, up to ``end`` at least. For one thread; its event loop runs only in its calls."""

    def __init__(self, source: Source, topic: str, partition: int, offset: int, end: int) -> None:
        self.offset = offset
        """Follows what ``read`` gave; behind markers, aborted and compacted records that come after it."""
        self._end = end
        self._source = source
        self._place = TopicPartition(topic, partition)
        self._loop = uvloop.new_event_loop()
        self._coming: asyncio.Task[Answer | None] | None = None
        self._coming_from = -1
        self._fetched: FetchedPartition | None = None
        self._patience = Patience()
        self._again_at = 0.0

    def __enter__(self) -> LogReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._loop.run_until_complete(self._close())
        finally:
            self._loop.close()

    def read(self, seconds: float) -> Sequence[Any]:
        """The next records; none where ``seconds`` went by without, or where only markers and the like came.

        Raises LogError for what is damaged or refused, OffsetGoneError.
        """
        if (pause := self._again_at - time.monotonic()) > 0.0:
            time.sleep(min(pause, seconds))
            return ()
        if self._fetched is None:
            answer = self._loop.run_until_complete(self._next(seconds))
            if answer is None:
                return ()
            self._fetched = _Part(
                self._place, Batches(answer.data), answer.aborted, self.offset, None, None, True, READ_COMMITTED
            )
        try:
            records = self._fetched.drain(PART_BYTES)
        except WrongChecksumError as error:
            self._fetch_again(error)
            return ()
        self.offset = self._fetched.next_fetch_offset
        if self._fetched.ended:
            self._fetched = None
        return records

    def _fetch_again(self, error: WrongChecksumError) -> None:
        """It may have been damaged on its way."""
        pause = self._patience.pause(self._place, error.offset)
        if pause is None:
            raise LogError(f"{self._place.topic}-{self._place.partition} is damaged: {error}") from None
        self._again_at = time.monotonic() + pause
        self._fetched = None

    async def _next(self, seconds: float) -> Answer | None:
        if self._coming is None or self._coming_from != self.offset:
            await self._drop()
            self._send(self.offset)
        assert self._coming is not None
        done, _ = await asyncio.wait({self._coming}, timeout=seconds)
        if not done:
            return None
        answer, self._coming = self._coming.result(), None
        if answer is not None and self.offset < (after := _after(answer.data)) < self._end:
            self._send(after)
            for _ in range(2):  # so that it goes out before the loop stands still
                await asyncio.sleep(0)
        return answer

    def _send(self, offset: int) -> None:
        self._coming = self._loop.create_task(self._source.fetch(offset))
        self._coming_from = offset

    async def _drop(self) -> None:
        coming, self._coming = self._coming, None
        if coming is not None:
            coming.cancel()
            with contextlib.suppress(asyncio.CancelledError, LogError):
                await coming

    async def _close(self) -> None:
        await self._drop()
        await self._source.close()


def _after(data: bytes) -> int:
    """The offset after the last whole batch; -1: that cannot be told."""
    batches, after = Batches(data), -1
    while batches.has_next():
        try:
            after = Batch(batches.next_batch).next_offset
        except UnreadableError:  # of an old format, or damaged
            after = -1
        batches.advance()
    return after
