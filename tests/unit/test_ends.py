"""What the answer to a fetch proves: aiokafka's own fetcher, with answers made by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.subscription_state import Assignment
from faust.types import TP

from streams.kafka import transport
from streams.kafka.clock import Told
from streams.kafka.ends import Ends
from streams.kafka.fetched import FetchedPartition, FetchResult
from tests.properties.test_fetched import ABORT, COMMIT, CONTROL
from tests.properties.test_fetched import batch as made

A, B = TP("events", 0), TP("events", 1)


def batch(start: int, count: int, producer: int = -1) -> bytes:
    """One batch of records with these offsets."""
    return made([(number, 0, b"k", b"v", []) for number in range(count)], start, producer=producer)


def marker(kind: bytes, offset: int, producer: int) -> bytes:
    return made([(0, 1, kind, b"\x00\x00\x00\x00\x00\x00", [])], offset, flags=CONTROL, producer=producer)


class Fetching:
    """A fetcher with an assignment of A and B, and no broker."""

    def __init__(self) -> None:
        self.fetcher: Any = transport._Fetcher.__new__(transport._Fetcher)
        self.assignment = Assignment({A, B})
        for tp in (A, B):
            self.assignment.state_value(tp).seek(0)
        self.answer: Callable[[], Any] = lambda: None
        self.fetcher.__dict__.update(
            ends=Ends(), _again_at={}, _records={}, _client_rack="", _key_deserializer=None, _value_deserializer=None,
            _check_crcs=True, _isolation_level=1, _prefetch_backoff=0.1, _retry_backoff=0.0,
            _preferred_read_replica={}, _client=SimpleNamespace(send=self._send, force_metadata_update=lambda: None),
        )  # fmt: skip

    async def _send(self, _node: int, _request: Any) -> Any:
        await asyncio.sleep(0.01)
        return self.answer()

    def fetch(
        self, *answers: tuple[TP, int, int, bytes], error: int = 0, aborted: Sequence[tuple[int, int]] = ()
    ) -> float:
        """Ask for A and B; the broker's (partition, high watermark, last stable offset, records). Gives when it was
        sent, at the latest."""

        def answer() -> Any:
            partitions: list[Any] = [
                (tp.partition, error, high, stable, 0, [*aborted], -1, raw) for tp, high, stable, raw in answers
            ]
            return SimpleNamespace(API_VERSION=11, topics=[("events", partitions)])

        positions = [(tp.partition, self.assignment.state_value(tp).position, 1) for tp in (A, B)]
        self.answer = answer
        before = time.time()
        asyncio.run(
            self.fetcher._proc_fetch_request(self.assignment, 1, SimpleNamespace(topics=[("events", positions)]))
        )
        return before

    def take(self, tp: TP) -> int:
        """Take the records out, as the consumer does; gives how many."""
        result = self.fetcher._records.pop(tp)
        assert isinstance(result, FetchResult)
        return len(result.getall())

    def told(self, tp: TP) -> Told | None:
        found: Told | None = self.fetcher.ends.told(tp)
        return found

    def fetched_again(self, brought: bytes) -> float:
        """Seconds after a fetch that brought these bytes of A until the next one is sent."""
        sent: list[float] = []

        async def send(_node: int, _request: Any) -> Any:
            sent.append(time.monotonic())
            return self.answer()

        self.fetcher._client.send = send
        for raw in (brought, b""):
            self.fetch((A, 5, 5, raw))
            self.fetcher._records.clear()
            self.assignment.state_value(A).seek(0)
        return sent[1] - sent[0]


@pytest.fixture
def fetching() -> Fetching:
    async def make() -> Fetching:
        return Fetching()

    return asyncio.run(make())


def test_an_empty_answer_at_the_last_stable_offset_proves_that_nothing_was_missing_when_it_was_asked_for(
    fetching: Fetching,
) -> None:
    sent = fetching.fetch((A, 0, 0, b""))
    told = fetching.told(A)
    assert told is not None
    assert told.upto == 0
    assert sent <= told.until <= sent + 0.01
    assert fetching.told(B) is None  # its answer did not come


def test_an_empty_answer_before_the_last_stable_offset_proves_nothing(fetching: Fetching) -> None:
    fetching.fetch((A, 7, 7, b""), (B, 0, 0, b""))  # the answer was full before it came to A
    assert fetching.told(A) is None
    assert fetching.told(B) is not None


def test_records_count_when_they_are_taken_out_and_reach_the_last_stable_offset(fetching: Fetching) -> None:
    sent = fetching.fetch((A, 5, 5, batch(0, 5)))
    assert fetching.told(A) is None
    assert fetching.take(A) == 5
    told = fetching.told(A)
    assert told is not None
    assert told.upto == 5
    assert told.until >= sent


def test_records_that_do_not_reach_the_end_prove_nothing(fetching: Fetching) -> None:
    fetching.fetch((A, 50, 50, batch(0, 5)))
    assert fetching.take(A) == 5
    assert fetching.told(A) is None
    fetching.fetch((A, 50, 50, b""))
    assert fetching.told(A) is None


def test_a_transaction_that_hangs_does_not_hold_the_clock(fetching: Fetching) -> None:
    fetching.fetch((A, 500, 5, batch(0, 5)))
    fetching.take(A)
    first = fetching.told(A)
    assert first is not None
    fetching.fetch((A, 500, 5, b""))
    second = fetching.told(A)
    assert second is not None
    assert second.upto == 5
    assert second.until > first.until


def test_markers_and_aborted_records_at_the_end_are_passed(fetching: Fetching) -> None:
    data = batch(0, 2) + marker(COMMIT, 2, 8) + batch(3, 2, producer=7) + marker(ABORT, 5, 7)
    fetching.fetch((A, 6, 6, data), aborted=[(7, 3)])
    assert fetching.take(A) == 2
    told = fetching.told(A)
    assert told is not None
    assert told.upto == 2
    fetching.fetch((A, 7, 7, marker(COMMIT, 6, 8)))
    assert fetching.told(A) == told
    assert fetching.take(A) == 0
    later = fetching.told(A)
    assert later is not None
    assert (later.upto, later.until > told.until) == (2, True)


def test_of_what_comes_in_parts_the_last_one_reaches_the_end(
    fetching: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FetchedPartition.drain, "__defaults__", (1,))
    fetching.fetch((A, 4, 4, batch(0, 2) + batch(2, 2)))
    result = fetching.fetcher._records[A]
    assert len(result.getall()) == 2
    assert fetching.told(A) is None
    assert len(result.getall()) == 2
    told = fetching.told(A)
    assert told is not None
    assert told.upto == 4


def test_an_error_or_an_answer_to_an_older_position_proves_nothing(fetching: Fetching) -> None:
    fetching.fetch((A, 0, 0, b""))
    before = fetching.told(A)
    fetching.fetch((A, 0, 0, b""), error=6)  # another broker leads the partition now
    assert fetching.told(A) == before
    seek = fetching.answer

    def sought() -> Any:
        fetching.assignment.state_value(A).seek(3)
        return seek()

    fetching.answer = sought
    asyncio.run(
        fetching.fetcher._proc_fetch_request(fetching.assignment, 1, SimpleNamespace(topics=[("events", [(0, 0, 1)])]))
    )
    assert fetching.told(A) == before


def test_after_a_seek_nothing_of_before_is_of_account(fetching: Fetching) -> None:
    fetching.fetch((A, 5, 5, batch(0, 5)))
    fetching.take(A)
    fetching.fetcher.ends.begin([A])
    assert fetching.told(A) is None
    fetching.assignment.state_value(A).seek(5)
    fetching.fetch((A, 5, 5, b""))
    told = fetching.told(A)
    assert told is not None
    assert told.upto == 0


@pytest.mark.parametrize(("many", "count", "waits"), [(1, 5, True), (1, 10_000, False), (2, 5, False), (1, 0, False)])
def test_a_broker_is_asked_for_many_partitions_only_now_and_then_while_little_comes(
    fetching: Fetching, monkeypatch: pytest.MonkeyPatch, many: int, count: int, waits: bool
) -> None:
    monkeypatch.setattr(transport, "FETCH_MANY", many)
    monkeypatch.setattr(transport, "FETCH_MANY_SECONDS", 0.1)
    raw = batch(0, count) if count else b""
    assert (fetching.fetched_again(raw) >= 0.2) == waits


def test_who_waits_for_records_of_many_partitions_is_answered_at_once_while_they_come(
    fetching: Fetching, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = []
    for many in (1, 2):
        monkeypatch.setattr(transport, "FETCH_MANY", many)
        fetching.fetch((A, 5, 5, batch(0, 5)))
        waits.append((fetching.fetcher._fetch_max_wait_ms, fetching.fetcher._fetch_min_bytes))
        fetching.fetcher._records.clear()
        fetching.fetch((A, 5, 5, b""))
        waits.append((fetching.fetcher._fetch_max_wait_ms, fetching.fetcher._fetch_min_bytes))
    few = (transport.FETCH_PACE_MS, transport.FETCH_PACE_BYTES)
    assert waits == [(0, 1), (transport.FETCH_MAX_WAIT_MS, 1), few, (transport.FETCH_MAX_WAIT_MS, 1)]
