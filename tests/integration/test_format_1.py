"""A worker on what the last release of format 1 left behind, changelog and local store: it goes on, and is right."""

from __future__ import annotations

import json
import time
from collections import Counter
from itertools import islice
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import Producer

from state import layout
from state.store import SharedMemory, Store
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.settings import Settings
from streams.wire.emit import Headers
from streams.wire.topics import Topics
from tests.chaos.load import RULES, load
from tests.conftest import starting
from tests.forked import ForkServer
from tests.golden.test_store_format_1 import as_it_was, changelog
from tests.helpers import APP, settled, wait_for
from tests.recorded import TOPICS
from tests.verifier import read_all, verify
from tests.verifier.memory import Written

STEP = 0.5
MORE = 400


class Installation:
    """The topics of the golden file, one partition each, as a cluster has them; times are those of then."""

    def __init__(self, broker: EmbeddedBroker, prefix: str) -> None:
        self.topics = Topics(APP, prefix)
        self._broker = broker
        specs = self.topics.specs(1)
        for spec in specs:
            if spec.name != self.topics.definitions:
                spec.config.update({"retention.ms": "-1", "message.timestamp.type": "CreateTime"})
        create_topics({"bootstrap.servers": broker.bootstrap}, specs, 1)
        self._names = dict(zip(TOPICS.by_partition, self.topics.by_partition, strict=True))
        written = as_it_was()
        self.now = max(record.time for record in written)
        self.write([record for record in written if record.key != layout.POSITION_KEY])
        meta = layout.decode_meta(changelog(written)[layout.POSITION_KEY])
        meta.positions = {self._names[topic]: offset for topic, offset in meta.positions.items()}
        position = Written(TOPICS.changelog, layout.POSITION_KEY, b"\x01" + msgspec.msgpack.encode(meta), (), self.now)
        self.write([position])
        self.records = {**changelog(written), layout.POSITION_KEY: position.value or b""}

    def write(self, records: list[Written]) -> None:
        producer = Producer({"bootstrap.servers": self._broker.bootstrap, "enable.idempotence": True})
        for each in records:
            headers: Headers = [(name, self._renamed(value)) for name, value in each.headers]
            producer.produce(
                self._names[each.topic], each.value, each.key, 0, timestamp=int(each.time * 1_000), headers=headers
            )
        assert producer.flush(30.0) == 0

    def _renamed(self, value: bytes) -> bytes:
        return self._names.get(value.decode("utf-8", "replace"), "").encode() or value

    def send(self, count: int) -> None:
        """More events, as they might have come afterwards."""
        made = (each for each in load(77, 220, lambda: self.now, name="later") if not each.label)
        records = []
        for each in islice(made, count):
            records.append(Written(TOPICS.events, each.key, each.value, (), self.now))
            self.now += STEP
        self.write(records)

    def formats(self) -> Counter[int]:
        """Of users' records, as the changelog ends."""
        last = {each.key(): each.value() for each in read_all(self._broker.bootstrap, self.topics.changelog)}
        return Counter(value[0] for key, value in last.items() if key[:1] == b"u" and value)


@pytest.mark.parametrize("with_store", [False, True], ids=["changelog", "store"])
def test_a_worker_goes_on_from_format_1_as_if_nothing_had_been(
    broker: EmbeddedBroker, unique_prefix: str, fork_server: ForkServer, tmp_path: Path, with_store: bool
) -> None:
    was = Installation(broker, unique_prefix)
    before = was.formats()
    assert before.keys() == {1}
    file = tmp_path / "segments.toml"
    file.write_text("\n".join(rule.definition() for rule in RULES))
    settings = {
        "app": APP, "bootstrap": broker.bootstrap, "topic_prefix": unique_prefix, "data_dir": str(tmp_path / "state"),
        "segments_file": str(file), "clock": "event", "text_precision": "float32", "session_timeout": "3",
    }  # fmt: skip
    if with_store:
        store = Store(Settings(**settings, worker_name="one").state_dir / "0", SharedMemory(8))  # type: ignore[arg-type]
        store.write(was.records.items(), len(was.records), complete_at=time.time())
        store.close()
    with starting(fork_server, settings, tmp_path) as start:
        worker = start("one")
        worker.wait_ready()
        was.send(MORE)
        wait_for(lambda: settled([worker.status()], 1), 120.0, "all to be counted and encoded")
        worker.wait_settled(60.0)
        worker.stop()
        assert worker.exit_status == 0, worker.tail()
    log = (tmp_path / "one.log").read_text()
    assert f"partition 0: {0 if with_store else len(was.records)} changelog records restored" in log
    after = was.formats()
    assert 0 < after[1] < before[1]  # who did nothing since is left as it was
    assert after[2] > 100
    found = verify(broker.bootstrap, APP, unique_prefix, RULES, 0.0)
    assert found.differences == [], json.dumps(found.differences[:10])
    assert found.proved > 1_000
