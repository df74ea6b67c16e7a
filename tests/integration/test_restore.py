"""A restore by raw batches leaves the same bytes in the store as one by a client's records, on a real changelog."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from state import layout
from state.store import SharedMemory, Store
from streams.kafka import changelog
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.kafka.changelog import (
    CHUNK,
    RestoreStoppedError,
    StaleStoreError,
    bounds,
    changelog_consumer,
    committed,
    gather,
    restore,
)
from streams.kafka.reading import take
from streams.wire.topics import Topics, TopicSpec
from tests.raw_batches import as_fetched
from tests.records import block_of

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
Conf = dict[str, str | int | float | bool]


class Owner:
    """Writes a changelog as its owner does; without ``commit`` the transaction is aborted once it is in the log."""

    def __init__(self, broker: EmbeddedBroker, topic: str, codec: str = "lz4") -> None:
        self._producer = Producer(
            {"bootstrap.servers": broker.bootstrap, "transactional.id": f"{topic}-0", "compression.type": codec}
        )
        self._producer.init_transactions(20.0)
        self._topic = topic

    def write(self, records: dict[bytes, bytes | None], *, commit: bool = True) -> None:
        self._producer.begin_transaction()
        for key, value in records.items():
            self._producer.produce(self._topic, value, key, 0)
        if commit:
            self._producer.commit_transaction(20.0)
        else:
            self._producer.flush(20.0)
            self._producer.abort_transaction(20.0)


def users(first: int, count: int, due: float) -> dict[bytes, bytes | None]:
    return {
        layout.user_key(f"u{number}"): block_of(due=due + number, time=due) for number in range(first, first + count)
    }


def write_changelog(broker: EmbeddedBroker, topic: str) -> None:
    """All that a log may hold: every codec, values written again, tombstones, guards, aborted ones, also at the end."""
    for turn, codec in enumerate(CODECS):
        owner = Owner(broker, topic, codec)
        owner.write(users(40 * turn, 120, 1_000.0 * turn))
        owner.write(users(0, 300, 9.0), commit=False)
        owner.write({layout.user_key(f"u{50 * turn}"): None, b"e" + codec.encode(): b"\x01", b"pp": b"", b"q": None})
    owner.write(users(3, 2, 9.0), commit=False)


def by_records(conf: Conf, topic: str, store: Store, bulk: bool, now: float) -> int:
    """As it was done before: a client's object for each record."""
    consumer = changelog_consumer(conf, topic, "records", 10)
    offset, high = bounds(consumer, topic, 0)
    consumer.assign([TopicPartition(topic, 0, offset)])
    count = 0
    while offset < high:
        records, read, reached = gather(take(consumer, CHUNK, 0.5))
        offset, count = max(offset, reached), count + read
        if records and bulk:
            store.load(as_fetched(records), offset, now)
        elif records:
            store.follow(records, offset, now)
    store.write((), high, complete_at=now)
    consumer.close()
    return count


def contents(store: Store) -> dict[bytes, bytes]:
    """Of a store that is closed with that. A load in bulk leaves timers of before, by the parts that it came in."""
    assert store.purge_timers(b"t", 100_000) is None
    found = dict(store.items(b""))
    store.close()
    return found


@pytest.fixture
def conf(broker: EmbeddedBroker) -> Conf:
    return {"bootstrap.servers": broker.bootstrap}


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[str], Store]:
    memory = SharedMemory(16)
    return lambda name: Store(tmp_path / name, memory)


@pytest.mark.parametrize("bulk", [False, True])
def test_raw_batches_leave_the_same_bytes_as_records(
    broker: EmbeddedBroker, topics: Topics, conf: Conf, opened: Callable[[str], Store], bulk: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    write_changelog(broker, topics.changelog)
    monkeypatch.setattr(changelog, "BULK_OFFSETS_EMPTY", 1 if bulk else 1 << 40)
    monkeypatch.setattr("streams.kafka.log_source.FETCH_BYTES", 20_000)  # several fetches
    monkeypatch.setattr("streams.kafka.log_reader.PART_BYTES", 5_000)
    now = time.time()
    seen: list[int] = []
    raw, plain = opened("raw"), opened("plain")
    count = restore(conf, topics.changelog, 0, raw, now, seen.append, lambda: False)
    assert count == by_records(conf, topics.changelog, plain, bulk, now) == sum(seen)
    assert count == len(CODECS) * 124
    assert len(seen) > 5
    assert raw.erasures
    found = contents(raw)
    assert found == contents(plain)
    assert sum(key[:1] == b"u" for key in found) == sum(key[:1] == b"t" for key in found) > 200

    again = opened("raw")
    assert restore(conf, topics.changelog, 0, again, now, seen.append, lambda: False) == 0
    assert contents(again) == found


def test_an_empty_changelog_is_restored_and_one_that_was_cut_at_its_beginning(
    broker: EmbeddedBroker, topics: Topics, conf: Conf, opened: Callable[[str], Store]
) -> None:
    now = time.time()
    empty = opened("empty")
    assert restore(conf, topics.changelog, 1, empty, now, lambda _count: None, lambda: False) == 0
    assert (empty.changelog_offset, empty.complete_at) == (0, now)
    empty.close()

    cut = f"{topics.prefix}cut"  # Kafka takes records out of no topic that is only compacted
    create_topics(conf, [TopicSpec(cut, "", 1, {"cleanup.policy": "delete"})], 1)
    owner = Owner(broker, cut)
    owner.write(users(0, 50, 5.0))
    owner.write(users(50, 50, 5.0))
    admin = AdminClient(conf)
    (done,) = admin.delete_records([TopicPartition(cut, 0, 51)]).values()
    done.result(20.0)
    raw, plain = opened("raw"), opened("plain")
    assert restore(conf, cut, 0, raw, now, lambda _count: None, lambda: False) == 50
    by_records(conf, cut, plain, False, now)
    assert contents(raw) == contents(plain)
    with pytest.raises(StaleStoreError, match="has not got the offset 7"):  # while it is read
        list(committed(conf, cut, 0, 7, 102))


def test_who_stops_a_restore_keeps_what_was_read(
    broker: EmbeddedBroker, topics: Topics, conf: Conf, opened: Callable[[str], Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_changelog(broker, topics.changelog)
    monkeypatch.setattr("streams.kafka.log_reader.PART_BYTES", 5_000)
    store, seen = opened("store"), [0]
    with pytest.raises(RestoreStoppedError):
        restore(conf, topics.changelog, 0, store, time.time(), seen.append, lambda: len(seen) > 2)
    reached = store.changelog_offset
    assert reached > 0
    whole = opened("whole")
    rest = restore(conf, topics.changelog, 0, store, time.time(), lambda _count: None, lambda: False)
    assert rest + sum(seen) == restore(conf, topics.changelog, 0, whole, time.time(), seen.append, lambda: False)
    ours, others = contents(store), contents(whole)
    assert {key: ours[key] for key in ours if key != layout.OFFSET_KEY} == {
        key: others[key] for key in others if key != layout.OFFSET_KEY
    }
