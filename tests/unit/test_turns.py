"""The threads of turns: who waits for a commit keeps nobody from folding or reading, and errors reach who waits."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import cast

import pytest

from streams.kafka.errors import AbortedError
from streams.kafka.turns import Turns
from streams.kafka.work import Done, Work
from streams.kafka.writer import PartitionWriter
from streams.steps.effects import Effects

PATIENCE = 30.0


class Writer:
    """Notes which steps its turn came to; ``commit`` waits for ``answer``; ``refuse`` may raise in a step."""

    def __init__(self, answered: bool = True, refuse: Callable[[str], object] = bool) -> None:
        self.steps: list[str] = []
        self.waits, self.answer = threading.Event(), threading.Event()
        self._refuse = refuse
        if answered:
            self.answer.set()

    def fold(self, work: Work) -> Work:
        self._step("fold")
        return work

    def commit(self, _folded: Work) -> int:
        self.waits.set()
        assert self.answer.wait(PATIENCE)
        self._step("commit")
        return 7

    def finish(self, _folded: Work, offset: int) -> Done:
        self._step("finish")
        return Done(Effects(), offset, [], 0.0)

    def _step(self, name: str) -> None:
        self.steps.append(name)
        self._refuse(name)


@pytest.fixture
def turns() -> Iterator[Turns]:
    """With one thread of each kind."""
    found = Turns(1)
    yield found
    found.shutdown()


def take(turns: Turns, writer: Writer, work: Work | None = None) -> Future[Done]:
    return turns.take(cast(PartitionWriter, writer), Work() if work is None else work)


def test_a_turn_is_folded_committed_and_finished_with_the_offset_of_its_commit(turns: Turns) -> None:
    writer = Writer()
    assert take(turns, writer).result(PATIENCE).records == 7
    assert writer.steps == ["fold", "commit", "finish"]


def test_while_every_commit_waits_for_kafka_others_fold_and_are_read(turns: Turns) -> None:
    slow, other = Writer(answered=False), Writer()
    first = take(turns, slow)
    assert slow.waits.wait(PATIENCE)
    second = take(turns, other)
    assert turns.folding.submit(lambda: list(other.steps)).result(PATIENCE) == ["fold"]
    assert not other.waits.is_set()  # as many transactions at a time as there are threads
    slow.answer.set()
    assert [each.result(PATIENCE).records for each in (first, second)] == [7, 7]


@pytest.mark.parametrize("step", ["fold", "commit", "finish"])
def test_what_ends_a_step_ends_the_turn_and_is_freed_with_it(turns: Turns, step: str) -> None:
    def refuse(name: str) -> None:
        if name == step:
            raise AbortedError(name)

    writer, work = Writer(refuse=refuse), Work()
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(AbortedError, match=step):
            take(turns, writer, work).result(PATIENCE)
        assert writer.steps == ["fold", "commit", "finish"][: len(writer.steps)]
        assert writer.steps[-1] == step
        freed = weakref.ref(work)
        take(turns, Writer()).result(PATIENCE)  # the threads have let go of what they did before
        del work
        assert freed() is None
    finally:
        gc.enable()


def test_a_turn_ends_also_when_nobody_waits_for_it_any_more(turns: Turns, caplog: pytest.LogCaptureFixture) -> None:
    writer = Writer(answered=False)

    async def give_up() -> None:
        waiting = asyncio.ensure_future(asyncio.wrap_future(take(turns, writer)))
        await asyncio.get_running_loop().run_in_executor(None, writer.waits.wait, PATIENCE)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(give_up())
    writer.answer.set()
    turns.shutdown()
    assert writer.steps == ["fold", "commit", "finish"]
    assert caplog.text == ""


def test_a_turn_that_comes_to_threads_that_have_ended_fails_and_hangs_nobody(turns: Turns) -> None:
    turns._committing.shutdown()
    writer = Writer()
    with pytest.raises(RuntimeError, match="shutdown"):
        take(turns, writer).result(PATIENCE)
    assert writer.steps == ["fold"]
