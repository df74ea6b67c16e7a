"""Following partitions of other workers: on a real changelog, and with whole workers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer

from state import layout
from state.store import SharedMemory, Store
from state.store_errors import StoreError
from streams.kafka.broker import EmbeddedBroker
from streams.kafka.changelog import StaleStoreError, claim, restore
from streams.kafka.installation import describe
from streams.kafka.standby import Standby
from streams.ops.metrics import Metrics
from streams.tools.replay import replay
from streams.tools.sources import Records
from streams.tools.town import Town
from streams.wire.events import Event
from streams.wire.topics import Topics
from tests.helpers import APP, Start, wait_for
from tests.records import block_of
from tests.verifier import verify

Put = dict[str, float | None]


class Changelog:
    """Writes to one partition of the changelog as its owner does."""

    def __init__(self, broker: EmbeddedBroker, topics: Topics, partition: int) -> None:
        self.topic, self.partition = topics.changelog, partition
        self._producer = Producer(
            {"bootstrap.servers": broker.bootstrap, "transactional.id": f"{topics.changelog}-{partition}"}
        )
        self._producer.init_transactions(20.0)

    def write(self, records: Put, *, commit: bool = True, guard: bytes | None = None) -> None:
        """User → due time, None deletes; ``guard``: somebody was erased."""
        self._producer.begin_transaction()
        if guard is not None:
            self._producer.produce(self.topic, b"\x01", b"e" + guard, self.partition)
        for user, due in records.items():
            value = block_of(due=due) if due is not None else None
            self._producer.produce(self.topic, value, layout.user_key(user), self.partition)
        if commit:
            self._producer.commit_transaction(20.0)
        else:
            self._producer.flush(20.0)
            self._producer.abort_transaction(20.0)


class Followed:
    """A standby with all that it is made of."""

    def __init__(self, broker: EmbeddedBroker, topics: Topics, directory: Path, identity: str = "") -> None:
        self.conf: dict[str, str | int | float | bool] = {"bootstrap.servers": broker.bootstrap}
        self.changelog = topics.changelog
        self.directory = directory
        self.memory = SharedMemory(16)
        self.metrics = Metrics()
        self.standby = Standby(
            self.conf, topics.changelog, directory, self.memory, self.metrics, scrub_seconds=0.0, identity=identity
        )
        self.standby.start()

    def wait_caught_up(self, *partitions: int) -> None:
        wait_for(lambda: self.standby.lags == dict.fromkeys(partitions, 0), 20.0, f"{partitions} are caught up")

    def take(self, partition: int) -> tuple[Store, int]:
        """As a new owner does: the store, restored, and how many records that took."""
        store = self.standby.take(partition) or Store(self.directory / str(partition), self.memory)
        count = restore(self.conf, self.changelog, partition, store, time.time(), lambda _count: None, lambda: False)
        return store, count


@pytest.fixture
def followed(broker: EmbeddedBroker, topics: Topics, tmp_path: Path) -> Iterator[Followed]:
    made = Followed(broker, topics, tmp_path / "state")
    yield made
    made.standby.stop()


def contents(store: Store) -> dict[str, float]:
    return {key[1:].decode(): layout.due_of(value) for key, value in store.items(b"u")}


def timers(store: Store) -> list[tuple[float, bytes]]:
    return [layout.timer_parts(key) for key in store.keys(b"t")]


def test_a_followed_partition_is_taken_over_with_a_short_tail(
    broker: EmbeddedBroker, topics: Topics, followed: Followed
) -> None:
    owner = Changelog(broker, topics, 0)
    owner.write({f"u{number}": 1_000.0 + number for number in range(500)})
    followed.standby.follow({0, 1})
    followed.wait_caught_up(0, 1)
    owner.write({"u0": 7.0, "u1": None, "new": 8.0})
    owner.write({"u2": 9.0}, commit=False)
    owner.write({"u3": 4.0, "u0": 6.0})
    owner.write({"u0": 5.0})
    wait_for(lambda: followed.standby.positions.get(0, 0) >= 510, 20.0, "the tail is followed")
    store, count = followed.take(0)
    assert count == 0
    found = contents(store)
    assert len(found) == 500
    assert (found["u0"], found["u2"], found["u3"], found["new"]) == (5.0, 1_002.0, 4.0, 8.0)
    assert "u1" not in found
    assert len(timers(store)) == 500  # one each: those that moved are gone
    assert timers(store)[:3] == [(4.0, b"u3"), (5.0, b"u0"), (8.0, b"new")]
    assert followed.standby.lags.keys() == {1}
    store.close()


def test_what_another_owner_wrote_meanwhile_is_followed_after_giving_back(
    broker: EmbeddedBroker, topics: Topics, followed: Followed
) -> None:
    owner = Changelog(broker, topics, 0)
    owner.write({"a": 1.0})
    followed.standby.follow({0})
    followed.wait_caught_up(0)
    store, _ = followed.take(0)
    # as its owner does, when it is done in the changelog; nothing of it has been fetched here
    for due in (2.0, 3.0):
        owner.write({"b": due})
        store.write([(b"ub", block_of(due=due))], int(2 * due), complete_at=time.time())
    store.close()
    owner.write({"c": 4.0})
    followed.standby.follow({0})
    followed.wait_caught_up(0)
    store, count = followed.take(0)
    assert count == 0
    assert contents(store) == {"a": 1.0, "b": 3.0, "c": 4.0}
    assert timers(store)[-1] == (4.0, b"c")
    store.close()


def test_a_storm_of_takeovers_leaks_neither_locks_nor_threads(
    broker: EmbeddedBroker, topics: Topics, followed: Followed
) -> None:
    owners = [Changelog(broker, topics, partition) for partition in (0, 1)]
    threads = threading.active_count()
    for turn in range(8):
        owners[0].write({"a": 100.0 + turn, f"only-{turn}": 5.0})
        owners[1].write({"b": 200.0 + turn})
        mine = turn % 2
        followed.standby.follow({0, 1} - {mine})
        if turn % 3 == 0:
            followed.wait_caught_up(1 - mine)
        store, _ = followed.take(mine)  # a lock that is still held would fail here
        assert contents(store)["b" if mine else "a"] == (200.0 if mine else 100.0) + turn
        store.close()
    assert threading.active_count() <= threads + 1
    followed.standby.stop()
    for partition in (0, 1):
        Store(followed.directory / str(partition), followed.memory).close()


def test_a_damaged_store_is_filled_anew(broker: EmbeddedBroker, topics: Topics, followed: Followed) -> None:
    owner = Changelog(broker, topics, 0)
    owner.write({f"u{number}": 1_000.0 for number in range(100)})
    path = followed.directory / "0"
    path.mkdir(parents=True)
    (path / "CURRENT").write_bytes(b"nonsense")
    followed.standby.follow({0})
    followed.wait_caught_up(0)
    store, count = followed.take(0)
    assert count == 0
    assert len(contents(store)) == 100
    store.close()


def test_a_followed_store_forgets_the_bytes_of_who_was_erased(
    broker: EmbeddedBroker, topics: Topics, followed: Followed
) -> None:
    def found() -> bool:
        files = [file for file in (followed.directory / "0").iterdir() if file.is_file()]
        return any(b"soon-to-be-gone" in file.read_bytes() for file in files if file.exists())

    owner = Changelog(broker, topics, 0)
    owner.write({"soon-to-be-gone": 1_000.0, "stays": 2_000.0})
    followed.standby.follow({0})
    followed.wait_caught_up(0)
    wait_for(found, 10.0, "the id is in the files")
    owner.write({"soon-to-be-gone": None}, guard=b"0123456789abcdef")
    wait_for(lambda: not found(), 20.0, "the id is in none of the files")
    store, _ = followed.take(0)
    assert contents(store) == {"stays": 2_000.0}
    store.close()


def test_a_store_that_may_have_missed_deletions_is_not_continued_from(
    broker: EmbeddedBroker, topics: Topics, tmp_path: Path
) -> None:
    conf: dict[str, str | int | float | bool] = {"bootstrap.servers": broker.bootstrap}
    owner = Changelog(broker, topics, 0)
    owner.write({"a": 1.0})
    memory = SharedMemory(16)
    store = Store(tmp_path / "0", memory)
    day = 86_400.0

    def again(now: float) -> int:
        return restore(conf, topics.changelog, 0, store, now, lambda _count: None, lambda: False)

    assert again(day) == 1
    assert again(30 * day) == 0  # nothing was written since, so nothing was missed
    owner.write({"b": 1.0})
    assert again(30.4 * day) == 1
    owner.write({"a": None})
    with pytest.raises(StaleStoreError, match="last complete 14 h ago"):
        again(31.0 * day)
    store.close()


def test_a_followed_store_of_another_topic_is_filled_anew(
    broker: EmbeddedBroker, topics: Topics, tmp_path: Path
) -> None:
    identity = describe({"bootstrap.servers": broker.bootstrap}, topics).ids[topics.changelog]
    foreign = Store(tmp_path / "0", SharedMemory(16))
    claim(foreign, topics.changelog, "of before")
    foreign.write([(layout.user_key("stranger"), block_of())], 1, complete_at=time.time())
    foreign.close()
    Changelog(broker, topics, 0).write({"a": 1.0, "b": 2.0})
    followed = Followed(broker, topics, tmp_path, identity)
    followed.standby.follow({0})
    followed.wait_caught_up(0)
    store, _ = followed.take(0)
    assert set(contents(store)) == {"a", "b"}
    assert store.get(layout.CHANGELOG_KEY) == identity.encode()
    store.close()
    followed.standby.stop()


def town_events(count: int) -> list[Event]:
    town = Town(21, 60)
    events = [event for event in town.events(count, time.time() - 600.0, 100.0) if isinstance(event, Event)]
    return [event for event in events if event.kind != "comment"]


def test_a_worker_with_standby_goes_on_where_a_killed_one_was(
    broker: EmbeddedBroker, topics: Topics, start_with_rules: Start
) -> None:
    conf: dict[str, str | int | float | bool] = {"bootstrap.servers": broker.bootstrap}
    records = town_events(8_000)
    first = start_with_rules("one", standby_replicas="1")  # of two workers, that is the other one
    first.wait_ready()
    second = start_with_rules("two", standby_replicas="1")
    for worker in (first, second):
        worker.wait(lambda status: status["ready"] and len(status["partitions"]) == 1, 120.0, "one partition each")
    replay(Records("town", records[:4_000], total=None), conf, topics)
    for worker in (first, second):
        worker.wait(lambda status: list(status["standby"].values()) == [0], 120.0, "following the other")
    replay(Records("town", records[4_000:], total=None), conf, topics)
    first.kill()
    status = second.wait_idle(len(records))
    assert len(status["partitions"]) == 2
    assert status["standby"] == {}
    # both were restored anew in the rebalance: one from its own store, one from what it followed
    assert sum(partition["restored"] for partition in status["partitions"]) < 1_000
    assert "standby of partition" in second.log_path.read_text()
    second.stop()
    assert verify(broker.bootstrap, APP, topics.prefix).differences == []


def test_a_store_without_its_files_rights_is_not_wiped(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where the directory should be")
    with pytest.raises(StoreError):
        Store(tmp_path / "state" / "0", SharedMemory(8))
    assert (tmp_path / "state").read_text() == "a file where the directory should be"
