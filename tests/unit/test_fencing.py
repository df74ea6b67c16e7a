"""What another producer has open is ended: asked for until the coordinator is not busy, and left where it refuses."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from aiokafka.errors import (
    BrokerResponseError,
    CoordinatorNotAvailableError,
    KafkaConnectionError,
    TransactionalIdAuthorizationFailed,
)
from confluent_kafka import KafkaError

from streams.kafka import fencing
from streams.kafka.fencing import end_transaction

BUSY, MOVED, LOADING = KafkaError.CONCURRENT_TRANSACTIONS, KafkaError.NOT_COORDINATOR, 14
REFUSED = KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
CONF = {"bootstrap.servers": "a:1"}


@dataclass
class Response:
    error_code: int


class Client:
    """Stands for Kafka: answers one thing after the other, the last one from then on."""

    made: list[Client]
    says: list[Any]

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.asked: list[tuple[int, tuple[Any, ...]]] = []
        self.closed = False
        self._says = list(self.says)
        self.made.append(self)

    def get_random_node(self) -> int:
        return 1

    async def bootstrap(self) -> None:
        assert self.given["bootstrap_servers"] == "a:1"

    async def coordinator_lookup(self, kind: int, key: str) -> int:
        assert (int(kind), key) == (1, "installation-3")
        if isinstance(self._says[0], BrokerResponseError):
            raise self._says.pop(0)
        return len(self.asked)

    async def send(self, node: int, request: Any) -> Response:
        struct = request.build(request.CLASSES[0])
        self.asked.append((node, (struct.transactional_id, struct.transaction_timeout_ms)))
        said = self._says.pop(0) if len(self._says) > 1 else self._says[0]
        if isinstance(said, Exception):
            raise said
        if said is None:
            await asyncio.Event().wait()
        return Response(said)

    async def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fencing, "_AGAIN", 0.0)
    monkeypatch.setattr(fencing, "AIOKafkaClient", Client)
    Client.made = []


@pytest.mark.parametrize(
    ("says", "ended", "questions"),
    [
        ([0], True, 1),
        ([BUSY, BUSY, 0], True, 3),
        ([MOVED, LOADING, BUSY, 0], True, 4),
        ([REFUSED], False, 1),
        ([BUSY, REFUSED], False, 2),
        ([KafkaConnectionError("away")], False, 1),
        ([CoordinatorNotAvailableError(), BUSY, CoordinatorNotAvailableError(), 0], True, 2),
        ([TransactionalIdAuthorizationFailed(), 0], False, 0),
        ([OSError("no route")], False, 1),
    ],
)
def test_it_is_asked_again_while_the_coordinator_is_busy_and_nothing_else(
    says: list[Any], ended: bool, questions: int
) -> None:
    Client.says = says
    assert end_transaction(CONF, "installation-3", 7_000) is ended
    (client,) = Client.made
    assert [what for _, what in client.asked] == [("installation-3", 7_000)] * questions
    assert [node for node, _ in client.asked] == [*range(questions)]  # whoever is the coordinator by now
    assert client.closed


@pytest.mark.parametrize("says", [[None], [BUSY]])
def test_nobody_waits_without_end(says: list[Any]) -> None:
    Client.says = says
    assert not end_transaction(CONF, "installation-3", 7_000, patience=0.05)
    assert Client.made[0].closed
