"""The independent check: reads only topics and shares no code with the service.

It recounts every user's events from ``user-events`` (each id once, those of a merged id under the user who identified
as it last), and compares that with the state changelog, with
``segment-changes`` (sequences whole, entered and exited in turn) and with ``user-segments``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, TopicPartition


@dataclass
class Findings:
    """What was read, and every difference found."""

    events: int = 0
    distinct_events: int = 0
    users: int = 0
    changes: int = 0
    differences: list[str] = field(default_factory=list)


def read_all(bootstrap: str, topic: str) -> Iterator[Any]:
    """Every committed record of a topic, partition by partition, up to the present end."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "verifier",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
        }
    )
    try:
        known = consumer.list_topics(topic, timeout=20.0).topics[topic].partitions
        for partition in sorted(known):
            consumer.assign([TopicPartition(topic, partition, 0)])
            ended = False
            while not ended:
                # consume() waits for all it was asked for, or the whole time
                for message in consumer.consume(5_000, timeout=0.2):
                    error = message.error()
                    if error is None:
                        yield message
                    elif error.code() == KafkaError._PARTITION_EOF:
                        ended = True
                    else:
                        raise RuntimeError(str(error))
    finally:
        consumer.close()


def verify(bootstrap: str, app: str, prefix: str = "") -> Findings:
    """Compare the output and the state with a recount of the input."""
    findings = Findings()
    ids: dict[str, set[str]] = defaultdict(set)
    merged: dict[str, tuple[float, str]] = {}
    for message in read_all(bootstrap, f"{prefix}user-events"):
        findings.events += 1
        try:
            event = json.loads(message.value())
            ids[event["user"]].add(event["id"])
            if event["kind"] in ("identify", "alias"):
                merged[event["target"]] = max(merged.get(event["target"], (0.0, "")), (event["time"], event["user"]))
        except (ValueError, KeyError, TypeError):
            continue
    for user in merged:
        ids[_owner(user, merged)] |= ids.pop(user, set())
    findings.users = len(ids)
    findings.distinct_events = sum(map(len, ids.values()))
    _check_counts(findings, ids, _states(bootstrap, f"{prefix}{app}-state-changelog"))
    members, sequences = _check_changes(findings, bootstrap, f"{prefix}segment-changes")
    _check_memberships(findings, bootstrap, f"{prefix}user-segments", members, sequences)
    return findings


def _owner(user: str, merged: dict[str, tuple[float, str]]) -> str:
    """Who a merged id is, where nobody identified as each other."""
    while user in merged:
        _, user = merged[user]
    return user


def _states(bootstrap: str, topic: str) -> dict[str, list[Any]]:
    latest: dict[str, bytes | None] = {}
    for message in read_all(bootstrap, topic):
        if message.key()[:1] == b"u":
            latest[message.key()[1:].decode()] = message.value()
    # a record is: format (1 byte), due time (8 bytes), msgpack array with the count of events third
    return {user: msgspec.msgpack.decode(value[9:], strict=False) for user, value in latest.items() if value}


def _check_counts(findings: Findings, ids: dict[str, set[str]], states: dict[str, list[Any]]) -> None:
    for user, distinct in ids.items():
        state = states.get(user)
        if state is None:
            findings.differences.append(f"user {user} has no state, but {len(distinct)} events")
        elif state[2] != len(distinct):
            findings.differences.append(f"user {user}: {state[2]} events counted, {len(distinct)} sent")
    for user in states.keys() - ids.keys():
        findings.differences.append(f"user {user} has a state, but no events")


def _check_changes(findings: Findings, bootstrap: str, topic: str) -> tuple[dict[str, set[str]], dict[str, int]]:
    members: dict[str, set[str]] = defaultdict(set)
    sequences: dict[str, int] = defaultdict(int)
    for message in read_all(bootstrap, topic):
        findings.changes += 1
        change = json.loads(message.value())
        user, segment = change["user"], change["segment"]
        if change["sequence"] != sequences[user] + 1:
            findings.differences.append(f"user {user}: sequence {change['sequence']} after {sequences[user]}")
        sequences[user] = change["sequence"]
        entered = change["change"] == "entered"
        if entered == (segment in members[user]):
            findings.differences.append(f"user {user}: {change['change']} {segment} twice")
        (members[user].add if entered else members[user].discard)(segment)
    return members, sequences


def _check_memberships(
    findings: Findings, bootstrap: str, topic: str, members: dict[str, set[str]], sequences: dict[str, int]
) -> None:
    snapshots: dict[str, dict[str, Any] | None] = {}
    for message in read_all(bootstrap, topic):
        value = message.value()
        snapshots[message.key().decode()] = json.loads(value) if value else None
    for user, segments in members.items():
        snapshot = snapshots.get(user)
        if snapshot is None and user in snapshots and not segments:
            continue  # a tombstone: merged into another
        if snapshot is None:
            findings.differences.append(f"user {user} has changes, but no user-segments record")
        elif set(snapshot["segments"]) != segments:
            findings.differences.append(
                f"user {user}: user-segments has {sorted(snapshot['segments'])}, changes give {sorted(segments)}"
            )
        elif snapshot["sequence"] != sequences[user]:
            findings.differences.append(
                f"user {user}: user-segments is at {snapshot['sequence']}, changes at {sequences[user]}"
            )
