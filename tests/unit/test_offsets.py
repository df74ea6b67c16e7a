"""What a broker does not know yet is no offset."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from streams.kafka.admin import AdminError, offsets


class Admin(AdminClient):
    """Gives these offsets, one after the other."""

    def __init__(self, answers: Iterable[int]) -> None:
        super().__init__({"bootstrap.servers": "127.0.0.1:1", "log_level": 0})
        self._answers = iter(answers)

    def list_offsets(self, *asked: Any, **_options: Any) -> Any:
        found: dict[TopicPartition, Future[Any]] = {part: Future() for part in asked[0]}
        for future in found.values():
            future.set_result(SimpleNamespace(offset=next(self._answers)))
        return found


def test_an_offset_that_the_client_does_not_know_is_asked_for_again() -> None:
    assert offsets(Admin([-1001, -1001, 7]), [("t", 3)], "end") == {("t", 3): 7}


def test_one_that_stays_unknown_is_told_by_name() -> None:
    with pytest.raises(AdminError, match=r"no end offset of t\[3\]"):
        offsets(Admin([-1001] * 9), [("t", 3)], "end", timeout=0.05)
