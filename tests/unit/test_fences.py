"""A writer is fenced once, whoever asks for it and when; who asks meanwhile waits for it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from streams.kafka.claiming import Fences
from streams.kafka.errors import AbortedError

PATIENCE = 30.0


def test_a_writer_is_fenced_once_for_all_who_ask_and_nobody_goes_on_before() -> None:
    asked: list[str] = []
    began, goes_on = threading.Event(), threading.Event()

    def fence(writer: str) -> None:
        asked.append(writer)
        began.set()
        assert goes_on.wait(PATIENCE)

    fences = Fences(fence)
    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(fences.fence, "one") for _ in range(3)]
        assert began.wait(PATIENCE)
        assert not any(each.done() for each in waiting)
        goes_on.set()
        for each in waiting:
            each.result(PATIENCE)
    fences.fence("one")
    fences.fence("two")
    assert asked == ["one", "two"]


def test_a_fence_that_failed_is_tried_again_by_whoever_asks_next() -> None:
    answers: list[Exception | None] = [AbortedError("not now"), None]

    def fence(_writer: str) -> None:
        if error := answers.pop(0):
            raise error

    fences = Fences(fence)
    with pytest.raises(AbortedError, match="not now"):
        fences.fence("one")
    fences.fence("one")
    fences.fence("one")
    assert answers == []
