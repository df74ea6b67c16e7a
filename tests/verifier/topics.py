"""What the service wrote: states, position records, changes, memberships and dead letters, read from their topics."""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tests.verifier.reading import Source
from tests.verifier.records import Held, read_user
from tests.verifier.recount import Origin

Report = Callable[[str], None]


@dataclass
class States:
    """The newest record of each key of the state changelog."""

    users: dict[str, Held] = field(default_factory=dict)
    homes: dict[str, list[int]] = field(default_factory=dict)
    """Partitions that hold the user."""
    positions: list[dict[str, Any]] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    """Users in the encode queue."""
    texts: int = 0
    """Texts that are not encoded yet."""


def read_states(source: Source, topic: str) -> States:
    """A record that is no user's is: format (1 byte), msgpack."""
    latest: dict[tuple[bytes, int], bytes | None] = {}
    for message in source.read(topic):
        if message.key()[:1] in (b"u", b"p", b"q", b"w"):
            latest[message.key(), message.partition()] = message.value()
    found = States()
    for (key, partition), value in sorted(latest.items()):
        if value is None:
            continue
        if key[:1] == b"w":
            found.texts += 1
            continue
        user = key[1:].decode()
        if key[:1] == b"q":
            found.waiting.append(user)
        elif key[:1] == b"p":
            found.positions.append(msgspec.msgpack.decode(value[1:]))
        else:
            found.users[user] = read_user(value)
            found.homes.setdefault(user, []).append(partition)
    return found


@dataclass
class Changes:
    """What subscribers of ``segment-changes`` have seen."""

    count: int = 0
    entries: Counter[str] = field(default_factory=Counter)
    """How often each segment was entered, by anybody."""
    members: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    sequences: dict[str, int] = field(default_factory=lambda: defaultdict(int))


def read_changes(
    source: Source,
    topic: str,
    report: Report,
    look: Callable[[dict[str, Any]], None] = lambda _change: None,
    floor: int = 0,
) -> Changes:
    """Reports holes and doubles in sequences, changes that do not alternate, and wrong CloudEvents attributes.

    ``look`` is shown each change, those of a user in order of their sequence. ``floor``: the largest of the position
    records: who began after others' states had expired may begin, or begin anew, with any sequence up to the next one.
    """
    found = Changes()
    ids: set[str] = set()
    # of each user by partition, in their order there: there is more than one where partitions became more
    told: dict[str, dict[int, deque[dict[str, Any]]]] = defaultdict(lambda: defaultdict(deque))
    for message in source.read(topic):
        found.count += 1
        change = json.loads(message.value())
        user, sequence = change["user"], change["sequence"]
        told[user][message.partition()].append(change)
        headers = {name: value.decode() for name, value in message.headers() or []}
        if headers.get("ce_id") in ids:
            report(f"user {user}: ce_id {headers['ce_id']} twice")
        ids.add(headers.get("ce_id", ""))
        if headers.get("ce_id") != f"{user}/{sequence}" or headers.get("ce_subject") != user:
            report(f"user {user}: sequence {sequence} has the headers {headers}")
    for user, partitions in told.items():
        for change in _by_sequence(list(partitions.values())):
            look(change)
            _follow(found, user, change, floor, report)
    return found


def _by_sequence(queues: list[deque[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Changes of one user: those of a partition stay in their order, and between partitions the sequence says it."""
    while any(queues):
        yield min((queue for queue in queues if queue), key=lambda queue: int(queue[0]["sequence"])).popleft()


def _follow(found: Changes, user: str, change: dict[str, Any], floor: int, report: Report) -> None:
    segment, sequence, before = change["segment"], change["sequence"], found.sequences[user]
    if sequence != before + 1 and not (before < sequence <= floor + 1 and not found.members[user]):
        what = "doubled change" if sequence <= before else "hole"
        report(f"user {user}: {what}: sequence {sequence} after {before}")
    found.sequences[user] = max(sequence, before)
    entered = change["change"] == "entered"
    if entered == (segment in found.members[user]):
        report(f"user {user}: {change['change']} {segment} twice, at sequence {sequence}")
    found.entries[segment] += entered
    (found.members[user].add if entered else found.members[user].discard)(segment)


def read_snapshots(source: Source, topic: str, report: Report) -> dict[str, dict[str, Any] | None]:
    """The newest record of ``user-segments`` for each user; None is a tombstone. Reports a user who has two."""
    newest: dict[str, dict[int, bytes | None]] = defaultdict(dict)
    for message in source.read(topic):
        newest[message.key().decode()][message.partition()] = message.value()
    found: dict[str, dict[str, Any] | None] = {}
    for user, values in newest.items():
        present = [value for value in values.values() if value]
        if len(present) > 1:
            report(f"user {user}: user-segments has records in the partitions {sorted(values)}")
        found[user] = json.loads(present[0]) if present else None
    return found


def read_letters(source: Source, topic: str) -> Counter[Origin]:
    """How many dead letters name each record."""
    found: Counter[Origin] = Counter()
    for message in source.read(topic):
        headers = {name: value.decode() for name, value in message.headers() if name.startswith("origin-")}
        found[headers["origin-topic"], int(headers["origin-partition"]), int(headers["origin-offset"])] += 1
    return found


def read_receipts(source: Source, topic: str) -> dict[str, tuple[int, list[int]]]:
    """Hash of an erased user → how many partitions there were then, and those that have answered (one of them twice if
    it did so twice)."""
    found: dict[str, tuple[int, list[int]]] = {}
    for message in source.read(topic):
        receipt = json.loads(message.value())
        _, answered = found.setdefault(message.key().decode(), (receipt["partitions"], []))
        answered.append(receipt["partition"])
    return found
