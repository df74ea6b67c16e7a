"""What is recorded of an installation, compared with what is there: each difference is told in one sentence."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from faust.types import TP
from msgspec import structs

from state import layout
from state.layout import Installation, Meta
from state.store import SharedMemory, Store
from streams.kafka import acceptance, admin
from streams.kafka import installation as module
from streams.kafka.acceptance import At, new_position
from streams.kafka.admin import TopicDescription, least_in_sync
from streams.kafka.agents import Host
from streams.kafka.changelog import StaleStoreError, claim
from streams.kafka.directory import take_over
from streams.kafka.errors import AbortedError
from streams.kafka.installation import InstallationError, warn_of_unsafe_topics
from streams.kafka.losses import Gap, Losses, lost_in
from streams.ops.metrics import Metrics
from streams.settings import Settings
from streams.steps.installation import Present, admit, mismatch, rewound, uneven
from streams.wire.topics import Topics
from tests.records import block_of

TOPICS = Topics("shop", "eu-")
PRESENT = Present(
    TOPICS, dict.fromkeys(TOPICS.by_partition, 4), {name: f"id of {name}" for name in TOPICS.by_partition}
)
RECORDED = PRESENT.installation(4)


def with_counts(**counts: int) -> Present:
    """``events=8``: so many partitions of that topic."""
    return replace(
        PRESENT, counts={**PRESENT.counts, **{getattr(TOPICS, name): count for name, count in counts.items()}}
    )


def test_nothing_has_changed() -> None:
    assert mismatch(RECORDED, PRESENT) is None
    assert uneven(PRESENT) is None


@pytest.mark.parametrize(
    ("recorded", "words"),
    [
        ({"app": "eu-shop", "prefix": ""}, "belongs to the app 'eu-shop' with the prefix '', not to the app 'shop'"),
        ({"partitioner": "consistent"}, "placed by 'consistent'"),
        ({"moving_to": 8}, "run `segments repartition 8` to its end"),
        ({"partitions": 2}, "has 4 partitions, but the state of this installation was made with 2"),
        ({"partitions": 8}, "`kafka-topics.sh --alter --partitions 8`"),
        ({"topics": {"eu-user-events": "another"}}, "the topic eu-user-events was made anew"),
    ],
)
def test_a_state_of_something_else_is_refused(recorded: dict[str, object], words: str) -> None:
    assert words in (mismatch(structs.replace(RECORDED, **recorded), PRESENT) or "")


@pytest.mark.parametrize(
    "topic", ["events", "labels", "reroute", "changelog", "changes", "memberships", "dead_letters"]
)
def test_one_topic_with_more_partitions_is_enough(topic: str) -> None:
    sentence = mismatch(RECORDED, with_counts(**{topic: 8})) or ""
    assert sentence.startswith(f"{getattr(TOPICS, topic)} has 8 partitions, but the state")
    assert "`segments repartition 8`" in sentence


def test_a_new_installation_wants_topics_of_one_number_of_partitions() -> None:
    assert "eu-segment-changes has 1 partition, and the other topics of this installation 4" in (
        uneven(with_counts(changes=1)) or ""
    )


def test_brokers_that_give_topics_no_id_are_not_compared() -> None:
    nameless = replace(PRESENT, ids=dict.fromkeys(PRESENT.ids, ""))
    assert mismatch(RECORDED, nameless) is None
    assert mismatch(nameless.installation(4), PRESENT) is None


def test_what_was_counted_cannot_lie_behind_the_end() -> None:
    assert rewound("user-events", 0, 260, 260) is None
    assert "user-events-0 ends at offset 200, but its records up to 260 are counted" in (
        rewound("user-events", 0, 260, 200) or ""
    )


def test_a_position_record_is_completed_and_losses_are_counted() -> None:
    meta = Meta(positions={TOPICS.events: 100, TOPICS.labels: 7}, lost=3)
    first = {TOPICS.events: 150, TOPICS.labels: 5, TOPICS.graph: 20}
    assert admit(meta, PRESENT, 4, first) == {TOPICS.events: 50}, "of what was never read nothing can be missed"
    assert meta.positions == {TOPICS.events: 150, TOPICS.labels: 7, TOPICS.graph: 20}
    assert (meta.lost, meta.installation) == (53, RECORDED)
    assert admit(meta, PRESENT, 4, first) == {}
    assert admit(meta, PRESENT, 4, {TOPICS.graph: 22}) == {TOPICS.graph: 2}, "it waited for all from 20 on"


def test_a_record_of_an_earlier_release_has_no_installation() -> None:
    assert Meta().installation is None
    assert layout.decode_meta(layout.encode_meta(Meta(installation=Installation("a", "b", 3)))).installation == (
        Installation("a", "b", 3)
    )


def test_a_gap_is_lost_only_as_far_as_the_log_begins_behind_it() -> None:
    gap = Gap("user-events", 0, 100, 140)
    assert [lost_in(gap, start) for start in (0, 100, 130, 140, 500)] == [0, 0, 30, 40, 40]
    losses = Losses(0)
    for _ in range(2):  # the first turn was refused
        losses.begin()
        losses.note("user-events", 100, 100)
        losses.note("user-events", 100, 140)
    assert losses.gaps() == []
    losses.commit()
    assert losses.gaps() == [gap]
    assert losses.gaps() == []
    losses.again(gap)
    assert losses.gaps() == [gap]


def test_a_store_of_another_changelog_is_foreign(store: Store) -> None:
    store.write([(b"uu", block_of())], 5, complete_at=9.0)
    claim(store, "changelog-0", "")  # a broker without ids
    claim(store, "changelog-0", "first")
    assert (store.changelog_offset, store.complete_at) == (5, 9.0)
    claim(store, "changelog-0", "first")
    claim(store, "changelog-0", "")
    with pytest.raises(StaleStoreError, match=r"of another topic \(first\) than changelog-0 is now \(second\)"):
        claim(store, "changelog-0", "second")


def test_local_state_of_an_earlier_release_is_taken_over_if_it_is_ones_own(
    tmp_path: Path, memory: SharedMemory
) -> None:
    settings = Settings(app="shop", topic_prefix="eu-", data_dir=tmp_path, worker_name="one")
    for number, topic in enumerate((TOPICS.events, "user-events", TOPICS.events)):
        opened = Store(tmp_path / "one" / "shop" / str(number), memory)
        position = layout.encode_meta(Meta(positions={topic: 7}))
        opened.write([(layout.POSITION_KEY, position)], 5, complete_at=9.0)
        opened.close()
    used = Store(tmp_path / "one" / "shop" / "2", memory)
    take_over(settings, TOPICS, memory)
    used.close()
    assert [path.name for path in settings.state_dir.iterdir()] == ["0"]
    moved = Store(settings.state_dir / "0", memory)
    assert moved.meta.positions == {TOPICS.events: 7}
    moved.close()
    take_over(settings, TOPICS, memory)  # the new directory is there
    assert sorted(path.name for path in (tmp_path / "one" / "shop").iterdir()) == ["1", "2"]


def test_topics_of_which_one_broker_may_lose_what_it_acknowledged_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kept = [(1, {}), (2, {}), (3, {"min.insync.replicas": "1"}), (3, {"min.insync.replicas": "2"})]
    topics = {f"t{n}": TopicDescription(f"t{n}", 4, copies, config) for n, (copies, config) in enumerate(kept)}
    monkeypatch.setattr(admin, "describe_topics", lambda *_: topics)
    warn_of_unsafe_topics({}, TOPICS)
    (line,) = caplog.messages
    assert line.startswith("min.insync.replicas is 1")
    assert line.endswith(": t1, t2")
    assert [least_in_sync(replication) for replication in (1, 2, 3, 5)] == [1, 1, 2, 2]


@pytest.mark.parametrize(("replication", "least"), [(1, "1"), (2, "1"), (3, "2")])
def test_topics_are_created_so_that_one_broker_alone_loses_nothing_where_that_can_be(
    replication: int, least: str
) -> None:
    asked: dict[str, Any] = {}

    class Admin:
        """Takes what it is asked for, and has no connection."""

        def create_topics(self, topics: Any, **_: Any) -> dict[str, Future[None]]:
            asked.update({topic.topic: topic.config for topic in topics})
            done: Future[None] = Future()
            done.set_result(None)
            return dict.fromkeys(asked, done)

    specs = TOPICS.specs(4)
    client: Any = Admin()
    assert admin._create(client, specs, replication, time.monotonic() + 9.0) == {spec.name for spec in specs}
    assert asked == {spec.name: {**spec.config, "min.insync.replicas": least} for spec in specs}


@pytest.mark.parametrize(
    ("position", "identity", "at", "found"),
    [
        (260, "id of eu-user-events", None, 0),  # made anew: its start
        (260, "id of eu-user-events", "end", 40),
        (0, "another", None, None),  # the same topic: where it is
        (40, "another", "end", None),
        (260, "another", "start", 0),  # the same topic lost its end
        (260, "another", "end", 40),
        (260, "", "end", 40),  # a broker without ids
    ],
)
def test_a_partition_goes_on_at_the_start_or_end_of_another_topic(
    position: int, identity: str, at: At | None, found: int | None
) -> None:
    recorded = structs.replace(RECORDED, topics={TOPICS.events: "another"})
    meta = Meta(positions={TOPICS.events: position}, installation=recorded)
    assert new_position(meta, TOPICS.events, identity, 40, at) == found


def test_of_two_topics_that_were_made_anew_each_can_be_accepted() -> None:
    """Each was refused because of the other, so that nothing led out of it."""
    recorded = structs.replace(RECORDED, topics={**RECORDED.topics, TOPICS.graph: "old", TOPICS.reroute: "old"})
    acceptance._refuse_other_differences(Meta(installation=recorded), PRESENT)
    with pytest.raises(InstallationError, match="segments repartition"):
        acceptance._refuse_other_differences(Meta(installation=recorded), with_counts(events=8))


def test_where_to_go_on_in_a_topic_that_lost_its_end_is_asked() -> None:
    with pytest.raises(InstallationError, match="say with --at"):
        new_position(Meta(positions={TOPICS.events: 260}), TOPICS.events, "same", 40, None)


def host_that_opens(opened: list[int], told: list[str]) -> Host:
    """Of a state with four partitions; what it opens and what it is told are noted."""
    signal = SimpleNamespace(connect=lambda _handler: None)
    faust: Any = SimpleNamespace(
        on_partitions_assigned=signal,
        on_partitions_revoked=signal,
        topic=lambda *_, **__: None,
        agent=lambda *_, **__: lambda handler: handler,
    )

    def make(number: int, _host: Host) -> Any:
        opened.append(number)
        return SimpleNamespace(start=lambda: None, stop=partial(asyncio.sleep, 0))

    return Host(faust, TOPICS, Metrics(), make, lambda _numbers: None, 4, told.append)


async def assign(host: Host, count: int) -> None:
    await host._assigned(None, {TP(TOPICS.events, number) for number in range(count)})


def test_partitions_that_the_state_does_not_have_are_not_opened() -> None:
    opened: list[int] = []
    told: list[str] = []

    def assigned(count: int) -> None:
        asyncio.run(assign(host_that_opens(opened, told), count))

    assigned(8)
    assert opened == []
    assert len(told) == 1
    assert "eu-user-events has 8 partitions, but the state of this installation was made with 4" in told[0]
    assigned(4)
    assert opened == [0, 1, 2, 3]


def test_a_worker_that_ends_opens_nothing_that_it_is_still_given() -> None:
    opened: list[int] = []

    async def ends() -> None:
        host = host_that_opens(opened, [])
        await assign(host, 2)
        await asyncio.gather(assign(host, 4), host.stop())  # the group is faster than the end
        await assign(host, 4)

    asyncio.run(ends())
    assert opened == [0, 1]


def test_a_worker_ends_when_a_topic_stays_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the events' topic it is given no partitions: nothing else would end it, or say what is wrong."""
    now = 100.0
    identity = module.Identity({"bootstrap.servers": "127.0.0.1:1"}, TOPICS)
    identity.present = PRESENT
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))

    def away(*_: object) -> Present:
        raise module.MissingTopicError("no such topic: user-events (create all with `segments topics`)")

    monkeypatch.setattr(module, "describe", away)
    assert identity.changed() is None
    now += 29.0
    assert identity.changed() is None
    monkeypatch.setattr(module, "describe", lambda *_: PRESENT)
    assert identity.changed() is None  # it was made anew, and is what it was
    monkeypatch.setattr(module, "describe", away)
    now += 29.0
    assert identity.changed() is None
    now += 31.0
    assert identity.changed() == (
        "no such topic: user-events (create all with `segments topics`); it went away while this worker ran"
    )


def test_only_of_a_topic_that_is_not_there_it_is_said_that_it_was_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Brokers that do not answer are no reason to accept another topic: they are asked again."""
    identity = module.Identity({"bootstrap.servers": "127.0.0.1:1"}, TOPICS)
    identity.present = PRESENT
    monkeypatch.setattr(module, "_PATIENCE", -1.0)
    raised: list[admin.AdminError] = []

    def fails(*_: object, **__: object) -> Any:
        raise raised[-1]

    monkeypatch.setattr(module, "offsets", fails)
    monkeypatch.setattr(module, "describe", fails)
    refused = admin.AdminError("not allowed")
    refused.__cause__ = KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED))
    told: dict[str, type[Exception]] = {}
    for error in (admin.AdminError("no answer"), refused, module.MissingTopicError("no topic")):
        raised.append(error)
        with pytest.raises((InstallationError, AbortedError), match=str(error)) as caught:
            identity.admit(0, Meta())
        told[str(caught.value).split(".")[0]] = caught.type
        assert ("accept-topic" in str(caught.value)) == (str(error) == "no topic")
    assert told == {"no answer": AbortedError, "not allowed": InstallationError, "no topic": InstallationError}
