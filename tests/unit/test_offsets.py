"""What a broker does not know yet is no offset."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.kafka.admin import AdminError, offsets


@pytest.fixture
def answering(monkeypatch: pytest.MonkeyPatch) -> Callable[[Iterable[int]], AdminClient]:
    """A client that is given these offsets, one after the other."""

    def make(answers: Iterable[int]) -> AdminClient:
        left = iter(answers)

        def list_offsets(asked: Iterable[TopicPartition], **_options: object) -> dict[TopicPartition, Future[Any]]:
            found: dict[TopicPartition, Future[Any]] = {part: Future() for part in asked}
            for future in found.values():
                future.set_result(SimpleNamespace(offset=next(left)))
            return found

        client = AdminClient({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
        monkeypatch.setattr(client, "list_offsets", list_offsets)
        return client

    return make


def test_an_offset_that_the_client_does_not_know_is_asked_for_again(
    answering: Callable[[Iterable[int]], AdminClient],
) -> None:
    assert offsets(answering([-1001, -1001, 7]), [("t", 3)], "end") == {("t", 3): 7}


def test_one_that_stays_unknown_is_told_by_name(answering: Callable[[Iterable[int]], AdminClient]) -> None:
    with pytest.raises(AdminError, match=r"no end offset of t\[3\]"):
        offsets(answering([-1001] * 9), [("t", 3)], "end", timeout=0.05)
