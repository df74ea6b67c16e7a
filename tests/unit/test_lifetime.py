"""What a worker opened is closed in reverse, whatever fails, and by force when it takes too long."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from encoders.process import EncodingProcess, ProcessEndedError
from streams.ops.lifetime import Lifetime
from tests.small_encoders import small_process


class Ended:
    """How the process would have ended."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.status: int | None = None
        self.left = threading.Event()
        self.life = Lifetime(lambda error: f"in words: {error}", self.said.append, self._leave)

    def _leave(self, status: int) -> None:
        self.status = status if self.status is None else self.status
        self.left.set()


@pytest.fixture
def ended() -> Ended:
    return Ended()


def test_what_was_opened_is_closed_in_reverse_though_one_of_them_fails(ended: Ended) -> None:
    closed = []

    async def main() -> None:
        async with ended.life as life:
            life.opened("first", lambda: closed.append("first"))
            life.opened("broken", lambda: 1 / 0)

            async def last() -> None:
                closed.append("last")

            life.opened("last", last)
            raise RuntimeError("no start")

    with pytest.raises(RuntimeError, match="no start"):
        asyncio.run(main())
    assert closed == ["last", "first"]
    with pytest.raises(SystemExit):
        ended.life.end(RuntimeError("no start"))
    assert (ended.said, ended.status) == (["in words: no start"], 1)


@pytest.mark.parametrize("blocking", [True, False])
def test_what_does_not_close_in_time_is_named_and_left(
    ended: Ended, blocking: bool, caplog: pytest.LogCaptureFixture
) -> None:
    ended.life.patience = lambda: 0.1
    closed = []

    async def hangs() -> None:
        if blocking:
            time.sleep(0.5)  # noqa: ASYNC251 - a library that blocks the event loop
        await asyncio.to_thread(ended.left.wait, 20.0)

    async def main() -> None:
        async with ended.life as life:
            life.opened("first", lambda: closed.append("first"))
            life.opened("consumer", hangs)
            raise RuntimeError("no start")

    with pytest.raises(RuntimeError):
        asyncio.run(main())
    assert "still open: consumer" in caplog.text
    assert (ended.said, ended.status) == (["in words: no start"], 1)


@pytest.fixture
def process() -> Iterator[EncodingProcess]:
    process = small_process()
    yield process
    process.close()


def test_a_process_of_encoders_that_computes_for_long_is_ended_all_the_same(process: EncodingProcess) -> None:
    process.encode(["fast"])
    told: list[str] = []

    def wait() -> None:
        try:
            process.encode(["slow"])
        except ProcessEndedError as error:
            told.append(str(error))

    waiting = threading.Thread(target=wait)
    waiting.start()
    began = time.monotonic()
    while not process._lock.locked():  # it is being asked
        assert time.monotonic() - began < 10.0
        time.sleep(0.001)
    process.close()
    assert time.monotonic() - began < 10.0
    waiting.join()
    assert told == ["the encoders' process ended, exit status -9"]
    assert process.pid is None


def test_what_has_no_time_to_be_closed_is_killed(ended: Ended, process: EncodingProcess) -> None:
    ended.life.opened("encoders", process.close, process.kill)
    ended.life._end(1)
    with pytest.raises(ProcessEndedError):
        process.encode(["x"])
