"""What the answer to a fetch proves: aiokafka's own fetcher, with answers made by hand."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.consumer.subscription_state import Assignment
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from faust.types import TP

from streams.kafka import transport
from streams.kafka.clock import Told
from streams.kafka.ends import Ends
from streams.kafka.fetched import FetchResult

A, B = TP("events", 0), TP("events", 1)


def batch(start: int, count: int) -> bytes:
    """One batch of records with these offsets."""
    builder = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 1 << 20)
    for number in range(count):
        builder.append(number, 0, b"k", b"v", [])
    found = bytearray(builder.build())
    found[0:8] = start.to_bytes(8, "big")
    return bytes(found)


class Fetching:
    """A fetcher with an assignment of A and B, and no broker."""

    def __init__(self) -> None:
        self.fetcher: Any = transport._Fetcher.__new__(transport._Fetcher)
        self.assignment = Assignment({A, B})
        for tp in (A, B):
            self.assignment.state_value(tp).seek(0)
        self.answer: Callable[[], Any] = lambda: None
        self.fetcher.__dict__.update(
            ends=Ends(), _records={}, _client_rack="", _key_deserializer=None, _value_deserializer=None,
            _check_crcs=True, _isolation_level=1, _prefetch_backoff=0.1, _retry_backoff=0.0,
            _preferred_read_replica={}, _client=SimpleNamespace(send=self._send, force_metadata_update=lambda: None),
        )  # fmt: skip

    async def _send(self, _node: int, _request: Any) -> Any:
        await asyncio.sleep(0.01)
        return self.answer()

    def fetch(self, *answers: tuple[TP, int, int, bytes], error: int = 0) -> float:
        """Ask for A and B; the broker's (partition, high watermark, last stable offset, records). Gives when it was
        sent, at the latest."""

        def answer() -> Any:
            partitions: list[Any] = [
                (tp.partition, error, high, stable, 0, [], -1, raw) for tp, high, stable, raw in answers
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
