"""A partition's own transactional id: what passes is asked again, what is refused is told, and nothing is left open."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import CoordinatorNotAvailableError, KafkaConnectionError
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import AddPartitionsToTxnRequest, EndTxnRequest, InitProducerIdRequest
from aiokafka.record.default_records import DefaultRecordBatch
from confluent_kafka import KafkaError

from streams.kafka import own_claim
from streams.kafka.errors import AbortedError, FencedError, PermanentError
from streams.kafka.own_claim import OwnClaim

CONF = {"bootstrap.servers": "a:1"}
INIT, ADD, PRODUCE, END = InitProducerIdRequest, AddPartitionsToTxnRequest, ProduceRequest, EndTxnRequest
STEPS = [INIT, ADD, PRODUCE, END]
LOST = KafkaConnectionError()


class Kafka:
    """Answers with these codes and errors first, each once, and then as one that has no trouble."""

    def __init__(self, **troubles: Any) -> None:
        self.troubles = {kind: [*troubles.get(kind.__name__, [])] for kind in STEPS}
        self.lookups: list[Exception] = []
        self.brokers = [1]
        self.asked: list[Any] = []
        self.open_clients = 0
        self.cluster = SimpleNamespace(leader_for_partition=lambda _place: 1)

    def __call__(self, **_given: Any) -> Kafka:
        self.open_clients += 1
        return self

    async def bootstrap(self) -> None:
        pass

    def get_random_node(self) -> int | None:
        return self.brokers[0] if self.brokers else None

    async def close(self) -> None:
        self.open_clients -= 1

    async def set_topics(self, topics: list[str]) -> None:
        assert topics == ["log"]

    def force_metadata_update(self) -> None:
        pass

    async def coordinator_lookup(self, _kind: object, key: str) -> int:
        assert key == "own-3"
        if self.lookups:
            raise self.lookups.pop(0)
        return 1

    async def send(self, _node: int, request: Any) -> Any:
        self.asked.append(request)
        left = self.troubles[type(request)]
        code = left.pop(0) if left else 0
        if isinstance(code, Exception):
            raise code
        return SimpleNamespace(
            error_code=code, producer_id=70, producer_epoch=5, errors=[("log", [(3, code)])],
            topics=[("log", [(3, code, 41)])],
        )  # fmt: skip

    @property
    def steps(self) -> list[type]:
        return [type(each) for each in self.asked]


@pytest.fixture
def claim(monkeypatch: pytest.MonkeyPatch) -> Callable[[Kafka], OwnClaim]:
    def make(kafka: Kafka) -> OwnClaim:
        monkeypatch.setattr(own_claim, "AIOKafkaClient", kafka)
        return OwnClaim(CONF, "own-3", 60_000, patience=0.05)

    return make


def ends(kafka: Kafka) -> list[bool]:
    """Whether each transaction was committed."""
    found = [each.build(each._CLASSES[0]) for each in kafka.asked if isinstance(each, EndTxnRequest)]
    return [bool(each.transaction_result) for each in found]


def test_one_record_is_committed_by_the_id_that_was_made_ours(claim: Callable[[Kafka], OwnClaim]) -> None:
    kafka = Kafka()
    assert claim(kafka).write("log", 3, b"p", b"meta") == 41
    assert kafka.steps == STEPS
    assert ends(kafka) == [True]
    produced = kafka.asked[2].build(kafka.asked[2]._CLASSES[-1])
    batch = DefaultRecordBatch(produced.topics[0][1][0][1])
    assert (batch.producer_id, batch.producer_epoch, batch.base_sequence, batch.is_transactional) == (70, 5, 0, True)
    assert [(record.key, record.value) for record in batch] == [(b"p", b"meta")]
    assert kafka.open_clients == 0


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    "trouble",
    [KafkaError.CONCURRENT_TRANSACTIONS, KafkaError.NOT_COORDINATOR, KafkaError.NOT_LEADER_FOR_PARTITION, LOST],
    ids=str,
)
def test_what_passes_is_asked_again(claim: Callable[[Kafka], OwnClaim], step: type, trouble: Any) -> None:
    kafka = Kafka(**{step.__name__: [trouble, trouble]})
    kafka.lookups.append(CoordinatorNotAvailableError())
    assert claim(kafka).write("log", 3, b"p", b"meta") == 41
    assert kafka.steps.count(step) == 3
    assert ends(kafka)[-1]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(
    ("code", "error"),
    [
        (KafkaError.PRODUCER_FENCED, FencedError),
        (KafkaError.INVALID_PRODUCER_EPOCH, FencedError),
        (KafkaError.INVALID_PRODUCER_ID_MAPPING, FencedError),
        (KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED, PermanentError),
    ],
)
def test_what_is_refused_is_told_and_nothing_is_committed(
    claim: Callable[[Kafka], OwnClaim], step: type, code: int, error: type[Exception]
) -> None:
    kafka = Kafka(**{step.__name__: [code] * 9})
    with pytest.raises(error):
        claim(kafka).write("log", 3, b"p", b"meta")
    assert kafka.steps[: STEPS.index(step) + 1] == STEPS[: STEPS.index(step) + 1]
    assert kafka.steps[STEPS.index(step) + 1 :] == ([END] if step in (ADD, PRODUCE) else [])
    assert ends(kafka) == ([True] if step is END else [False] if step is not INIT else [])
    assert kafka.open_clients == 0


def test_a_broker_that_starts_and_knows_of_none_is_asked_later(claim: Callable[[Kafka], OwnClaim]) -> None:
    kafka = Kafka()
    kafka.brokers = []
    with pytest.raises(AbortedError, match="only just started"):
        claim(kafka)
    assert kafka.asked == []
    assert kafka.open_clients == 0


@pytest.mark.parametrize("trouble", [LOST, KafkaError.NOT_COORDINATOR, KafkaError.UNKNOWN], ids=str)
@pytest.mark.parametrize("step", STEPS)
def test_what_does_not_pass_may_be_claimed_anew_unless_it_may_be_committed(
    claim: Callable[[Kafka], OwnClaim], step: type, trouble: Any
) -> None:
    kafka = Kafka(**{step.__name__: [trouble] * 99})
    with pytest.raises(FencedError if step is END else AbortedError):
        claim(kafka).write("log", 3, b"p", b"meta")
    assert kafka.open_clients == 0
