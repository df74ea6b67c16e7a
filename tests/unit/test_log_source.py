"""What Kafka answers to a fetch, and what becomes of it: records, another try, or a sentence."""

from __future__ import annotations

import asyncio
import time
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError
from aiokafka.errors import KafkaError as ClientError
from confluent_kafka import KafkaError

from streams.kafka import log_source
from streams.kafka.log_reader import LogReader
from streams.kafka.log_source import Answer, KafkaSource, LogError, OffsetGoneError


class Client:
    """Stands for aiokafka's client, because no broker fails at will: answers what it is told to."""

    def __init__(self, **_conf: Any) -> None:
        self.cluster = SimpleNamespace(leader_for_partition=lambda _place: self.leader, unauthorized_topics=set())
        self.leader: int | None = 1
        self.said: list[Any] = []
        self.updates = 0
        self.closed = False

    async def bootstrap(self) -> None:
        pass

    def set_topics(self, _topics: list[str]) -> asyncio.Future[bool]:
        return self.force_metadata_update()

    def force_metadata_update(self) -> asyncio.Future[bool]:
        self.updates += 1
        known = asyncio.get_running_loop().create_future()
        known.set_result(True)
        return known

    async def send(self, node: int, request: Any) -> Any:
        assert node == self.leader
        said = self.said.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    async def close(self) -> None:
        self.closed = True


def response(code: int = 0, data: bytes = b"", version: int = 11, aborted: Any = None) -> Any:
    """As aiokafka decodes it: high watermark, last stable offset, log start, aborted ones, the replica, batches."""
    tail = (9, 9, 0, aborted, -1, data) if version >= 11 else (9, 9, 0, aborted, data)
    return SimpleNamespace(API_VERSION=version, topics=[("log", [(4, code, *tail)])])


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()
    monkeypatch.setattr(log_source, "AIOKafkaClient", lambda **_conf: made)
    monkeypatch.setattr(log_source, "_AGAIN", 0.0)
    return made


def fetch(times: int = 1) -> Answer | None:
    """The last of so many answers."""

    async def ask() -> Answer | None:
        source = KafkaSource({"bootstrap.servers": "nowhere:1"}, "log", 4)
        try:
            for _ in range(times - 1):
                assert await source.fetch(7) is None
            return await source.fetch(7)
        finally:
            await source.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("version", [4, 10, 11])
def test_an_answer_has_the_batches_and_who_aborted(client: Client, version: int) -> None:
    client.said = [response(data=b"batches", version=version, aborted=[(7, 3)])]
    assert fetch() == Answer(b"batches", [(7, 3)])
    assert client.closed


def test_an_empty_answer_is_one(client: Client) -> None:
    client.said = [response(data=b"")]
    assert fetch() == Answer()


@pytest.mark.parametrize("code", [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.FENCED_LEADER_EPOCH, 56, 78])
def test_what_passes_is_no_answer_and_leaders_are_asked_for(client: Client, code: int) -> None:
    client.said = [response(code), response(data=b"x")]
    assert fetch(2) == Answer(b"x")
    assert client.updates == 2


@pytest.mark.parametrize("error", [KafkaConnectionError("gone"), ClientError("?"), OSError("reset"), TimeoutError()])
def test_a_lost_connection_is_no_answer(client: Client, error: Exception) -> None:
    client.said = [error, error, response(data=b"x")]
    assert fetch(3) == Answer(b"x")


@pytest.mark.parametrize("leader", [None, -1])
def test_a_partition_without_a_leader_is_waited_for(client: Client, leader: int | None) -> None:
    client.leader = leader
    assert fetch(3) is None
    assert client.updates == 4


def test_an_offset_that_is_gone_is_told(client: Client) -> None:
    client.said = [response(KafkaError.OFFSET_OUT_OF_RANGE)]
    with pytest.raises(OffsetGoneError, match="log-4 has not got the offset 7"):
        fetch()
    assert client.closed


@pytest.mark.parametrize("code", [KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.UNKNOWN, 2])
def test_what_stays_is_told(client: Client, code: int) -> None:
    client.said = [response(code)]
    with pytest.raises(LogError, match="log-4 cannot be read at offset 7"):
        fetch()


def test_a_topic_that_stays_away_is_told_and_one_that_may_not_be_read(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.said = [response(KafkaError.UNKNOWN_TOPIC_OR_PART)] * 3
    monkeypatch.setattr(log_source, "_PATIENCE", -1.0)
    with pytest.raises(LogError, match="log-4 is not there"):
        fetch()
    client.leader = None
    with pytest.raises(LogError, match="log-4 is not there"):
        fetch()
    client.cluster.unauthorized_topics.add("log")
    with pytest.raises(LogError, match="log-4 may not be read"):
        fetch()


def test_a_kafka_that_is_not_there_holds_nobody_up() -> None:
    source = KafkaSource({"bootstrap.servers": "127.0.0.1:1"}, "log", 4)
    began = time.monotonic()
    with LogReader(source, "log", 4, 0, 5) as reader:
        assert [len(reader.read(0.05)) for _ in range(4)] == [0] * 4
        assert reader.offset == 0
    assert time.monotonic() - began < 20.0
