"""Whoever claims a partition ends all who could write there, on a real Kafka: also within an open transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer

from state.layout import POSITION_KEY, Meta, encode_meta
from state.store import SharedMemory
from streams.kafka.broker import EmbeddedBroker
from streams.kafka.claiming import Claiming, Claims, claiming, fence, fence_all
from streams.kafka.errors import FencedError, PermanentError
from streams.kafka.output import Output
from streams.kafka.positions import read_positions
from streams.kafka.transactions import Transactions, new_writer_id
from streams.kafka.writer import PartitionWriter
from streams.settings import Settings
from streams.steps.effects import Effects, Place
from streams.steps.in_force import InForce
from streams.steps.segments import parse_plan
from streams.wire.topics import Topics
from tests.small_partition import PLACE, models_of


class Worker:
    """One slot, and partitions that go by it."""

    def __init__(self, settings: Settings, topics: Topics, directory: Path) -> None:
        self._settings = settings.model_copy(update={"data_dir": directory})
        self._topics = topics
        self._claims = Claims(settings)
        self.slot = Transactions(settings, new_writer_id(topics.installation))
        self.writers: list[PartitionWriter] = []

    def open(self, number: int) -> PartitionWriter:
        place = self.place(number)
        definitions = InForce(0, parse_plan(""), models_of(""))

        def claim(_stopping: Callable[[], bool]) -> Claiming | None:
            return claiming(self._claims, place, self.slot.identity)

        found = PartitionWriter(self._settings, lambda: definitions, place, SharedMemory(8), claim=claim)
        found.open(lambda _count: None, lambda: False)
        self.writers.append(found)
        return found

    def place(self, number: int) -> Place:
        return replace(PLACE, topics=self._topics, partition=number, partitions=2)

    def write(self, *numbers: int, users: int = 1) -> None:
        """A transaction with a turn of each."""
        self.begin(*numbers, users=users)()

    def begin(self, *numbers: int, users: int = 1) -> Callable[[], object]:
        """The same without its commit."""
        self.slot.begin()
        value = encode_meta(Meta(users=users, writer=self.slot.identity))
        handed = [
            self.slot.produce(Output(self._settings, self.place(number)), Effects(puts={POSITION_KEY: value}))
            for number in numbers
        ]
        return lambda: self.slot.commit(handed)

    def close(self) -> None:
        for writer in self.writers:
            writer.close()


@pytest.fixture
def settings(broker: EmbeddedBroker, topics: Topics) -> Settings:
    return Settings(
        app=topics.app, bootstrap=broker.bootstrap, topic_prefix=topics.prefix, transaction_timeout_ms=30_000
    )


@pytest.fixture
def workers(settings: Settings, topics: Topics, tmp_path: Path) -> list[Worker]:
    return [Worker(settings, topics, tmp_path / name) for name in ("one", "two")]


def positions(settings: Settings, topics: Topics) -> dict[int, Meta]:
    return read_positions(settings.librdkafka(), topics.changelog, 2)


def test_a_claim_of_one_partition_ends_the_writer_of_both_and_what_it_has_open_never_was(
    workers: list[Worker], settings: Settings, topics: Topics
) -> None:
    one, two = workers
    one.open(0)
    one.open(1)
    one.write(0, 1, users=7)
    commit = one.begin(0, 1, users=8)
    one.slot._producer.flush(10.0)  # it is in the log
    assert two.open(0).meta == Meta(users=7, queued=0, writer=two.slot.identity)
    with pytest.raises(FencedError):
        commit()
    assert [meta.users for _, meta in sorted(positions(settings, topics).items())] == [7, 7]
    two.write(0, users=9)
    assert positions(settings, topics)[0].users == 9
    for worker in workers:
        worker.close()


def test_what_the_writer_that_the_local_store_names_has_open_is_ended_before_the_first_look(
    workers: list[Worker], settings: Settings, topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = workers[0]
    killed.open(0)
    killed.write(0, users=7)
    commit = killed.begin(0, users=8)
    killed.slot._producer.flush(10.0)  # it is in the log
    killed.close()
    started = Worker(settings, topics, tmp_path / "one")  # on the same store
    look, looks = Claiming.look, []

    def counted(self: Claiming) -> tuple[int, int]:
        looks.append(look(self))
        return looks[-1]

    monkeypatch.setattr(Claiming, "look", counted)
    assert started.open(0).meta.users == 7
    assert len(looks) == 1
    with pytest.raises(FencedError):
        commit()
    started.close()


def test_who_was_fenced_may_claim_nothing_by_what_it_had_begun(
    workers: list[Worker], settings: Settings, topics: Topics
) -> None:
    one, two = workers
    late = claiming(Claims(settings), one.place(0), one.slot.identity)
    assert late is not None
    late.look()
    assert late.read("", lambda: False)
    two.open(0)  # claims it meanwhile
    with pytest.raises(FencedError, match="taken over"):
        late.write(Meta())
    assert positions(settings, topics)[0].writer == two.slot.identity
    two.close()


def test_a_claim_ends_the_producer_of_the_release_before(
    workers: list[Worker], settings: Settings, topics: Topics
) -> None:
    old = Producer({**settings.librdkafka(), "transactional.id": f"{topics.installation}-0"})
    old.init_transactions(20.0)
    old.begin_transaction()
    old.produce(topics.changelog, encode_meta(Meta(users=5)), POSITION_KEY, 0)
    old.commit_transaction(20.0)
    old.begin_transaction()
    old.produce(topics.changelog, encode_meta(Meta(users=6)), POSITION_KEY, 0)
    old.flush(20.0)
    assert workers[0].open(0).meta.users == 5
    assert positions(settings, topics)[0] == workers[0].writers[0].meta
    workers[0].close()


def test_tools_fence_the_writers_of_all_partitions_and_name_a_transaction_that_hangs(
    workers: list[Worker], settings: Settings, topics: Topics
) -> None:
    one, two = workers
    one.open(0)
    two.open(1)
    fenced: list[str] = []
    conf = settings.librdkafka()

    def note(writer: str) -> None:
        fenced.append(writer)
        fence(conf, writer)

    fence_all(conf, topics.changelog, 2, 1.0, note)
    assert sorted(fenced) == sorted(worker.slot.identity for worker in workers)
    for worker, number in ((one, 0), (two, 1)):
        with pytest.raises(FencedError):
            worker.write(number)
        worker.close()
    hangs = Transactions(settings, new_writer_id("stranger"))
    hangs.begin()
    hangs.produce(Output(settings, one.place(1)), Effects(puts={POSITION_KEY: encode_meta(Meta())}))
    hangs._producer.flush(10.0)
    with pytest.raises(PermanentError, match=f"stays open in {topics.changelog}-1"):
        fence_all(conf, topics.changelog, 2, -9.0, note)
