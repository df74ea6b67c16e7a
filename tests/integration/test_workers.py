"""Two workers: each answers for both, sizes are those of both, and what was refused is known after a restart."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from typing import Any

from confluent_kafka import Producer

from streams.kafka.broker import EmbeddedBroker
from streams.steps.partitioner import partition_of
from streams.tools.child import ChildWorker
from streams.wire.events import Event
from streams.wire.topics import Topics
from tests.helpers import Start, send_events, wait_for

USERS = [f"user-{number}" for number in range(12)]


def ask(worker: ChildWorker, user: str) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{worker.port}/api/users/{user}", timeout=20) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def members_of(partition: int) -> int:
    return sum(partition_of(user, 2) == partition for user in USERS)


def sizes(status: dict[str, Any]) -> tuple[int, int]:
    """Of the segment: everywhere, and here."""
    clicking = next(each for each in status["segments"] if each["id"] == "clicking")
    return clicking["users"], clicking["here"]


def test_both_workers_answer_for_all_users_and_show_the_sizes_of_all(
    broker: EmbeddedBroker, topics: Topics, start_with_rules: Start
) -> None:
    now = time.time()
    events = [Event(user=user, kind="click", time=now, id=f"{user}-{n}") for user in USERS for n in range(3)]
    send_events(broker, topics, *events)
    producer = Producer({"bootstrap.servers": broker.bootstrap})
    for number in range(5):
        producer.produce(topics.events, b"{", partition=number % 2)
    assert producer.flush(20.0) == 0
    workers = [start_with_rules("one"), start_with_rules("two")]

    assert all(0 < members_of(partition) < len(USERS) for partition in (0, 1))

    def through() -> bool:  # all of one look: while partitions move, two looks may be of two owners
        found = [worker.status() for worker in workers]
        owned = sorted(each["partition"] for status in found for each in status.get("partitions", ()))
        return owned == [0, 1] and all(
            bool(status)
            and len(status["partitions"]) == 1
            and status["all_workers"]["events"] == len(events)
            and not status["all_workers"]["unknown"]
            and status["dead_letters"] == {"not-json": 5}
            and sizes(status) == (len(USERS), members_of(status["partitions"][0]["partition"]))
            for status in found
        )

    wait_for(through, 90.0, "both know what both have")
    for worker in workers:
        for user in USERS:
            code, found = ask(worker, user)
            assert (code, found.get("user")) == (200, user), found
        code, found = ask(worker, "nobody")
        assert (code, found["error"]) == (404, "No event of this user has been counted.")

    # without the owner nobody says that a user is unknown
    first, second = workers
    (left,) = second.status()["partitions"]
    second.kill()
    user = next(user for user in USERS if partition_of(user, 2) == left["partition"])
    code, found = ask(first, user)
    assert code in (200, 502, 503), found
    wait_for(lambda: ask(first, user)[0] == 200, 60.0, "the first worker has taken over")
    first.stop()
    again = start_with_rules("one")
    again.wait(lambda status: status["dead_letters"] == {"not-json": 5}, 120.0, "what was refused is known")
