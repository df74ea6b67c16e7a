"""A round is delivered before its commit, as far as it fills batches: librdkafka does not sleep while it flushes."""

from __future__ import annotations

from typing import Any

import pytest

from state.layout import POSITION_KEY
from streams.kafka import transactions
from streams.kafka.output import BATCH_BYTES, Output, Produced
from streams.kafka.transactions import Transactions
from streams.settings import Settings
from streams.steps.effects import Effects
from tests.small_partition import PLACE

SIZE = 1_000
BATCH = BATCH_BYTES // SIZE
"""Records in one."""


class Kafka:
    """A producer and its broker: each look delivers one batch of what was handed over, if it is full."""

    def __init__(self, silent: bool = False) -> None:
        self.waiting = 0
        self.looks = 0
        self.waiting_at_commit: list[int] = []
        self._silent = silent
        self._told: list[Any] = []

    def __len__(self) -> int:
        return self.waiting

    def begin_transaction(self) -> None: ...

    def produce_batch(self, _topic: str, messages: list[dict[str, Any]], _partition: int) -> int:
        self.waiting += len(messages)
        return len(messages)

    def produce(self, *_: Any, on_delivery: Any = None, **__: Any) -> None:
        self.waiting += 1
        self._told += [on_delivery] if on_delivery else []

    def poll(self, _seconds: float) -> int:
        self.looks += 1
        delivered = BATCH if self.waiting >= BATCH and not self._silent else 0
        self.waiting -= delivered
        return delivered

    def commit_transaction(self, _seconds: float) -> None:
        self.waiting_at_commit.append(self.waiting)
        for told in self._told:
            told(None, _Message())


class _Message:
    def offset(self) -> int:
        return 41


@pytest.fixture
def kafka(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kafka:
    found = Kafka(silent=getattr(request, "param", False))
    monkeypatch.setattr(transactions, "_new_producer", lambda *_: found)
    return found


def effects(records: int) -> Effects:
    """A turn that writes so many records of users."""
    puts: dict[bytes, bytes | None] = {b"u%d" % number: bytes(8) for number in range(records)}
    return Effects(written=records * SIZE, puts={**puts, POSITION_KEY: b""})


def commit(*turns: Effects) -> list[int]:
    settings = Settings()
    together = Transactions(settings, "writer")
    together.begin()
    return together.commit([together.produce(Output(settings, PLACE), turn) for turn in turns])


@pytest.mark.parametrize("turns", [1, 2])
def test_what_fills_batches_is_delivered_before_the_commit_flushes_the_rest(kafka: Kafka, turns: int) -> None:
    assert commit(*(effects(20 * BATCH) for _ in range(turns))) == [42] * turns
    assert kafka.looks >= 15 * turns
    (left,) = kafka.waiting_at_commit
    assert left <= 2 * turns * (BATCH + 1)


def test_a_round_that_fills_no_batch_is_committed_at_once(kafka: Kafka) -> None:
    commit(effects(BATCH // 2), effects(1))
    assert kafka.looks == 0


@pytest.mark.parametrize("kafka", [True], indirect=True)
def test_where_nothing_is_delivered_the_commit_is_asked_for_after_one_look(kafka: Kafka) -> None:
    commit(effects(20 * BATCH))
    assert (kafka.looks, kafka.waiting_at_commit) == (1, [20 * BATCH + 1])


def test_loose_are_one_batch_of_the_changelog_and_all_that_goes_elsewhere() -> None:
    turn = effects(5 * BATCH)
    turn.erased = ["somebody"] * 7
    loose = Produced(Output(Settings(), PLACE), turn).loose
    assert BATCH + 7 <= loose <= BATCH + 8
