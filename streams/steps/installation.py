"""Whose state a partition holds: what its position record says, compared with what is on the cluster now.

Each answer is one sentence that says what was found and what to do; None or empty: all is as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from state.layout import Installation, Meta
from streams.steps.partitioner import PARTITIONER
from streams.wire.topics import Topics


@dataclass(frozen=True)
class Present:
    """The installation's topics as the brokers describe them now."""

    topics: Topics
    counts: Mapping[str, int]
    """Topic → partitions, of all topics that have one for each partition of the state."""
    ids: Mapping[str, str]
    """Topic → Kafka's id of it; empty where the broker knows none."""

    def installation(self, partitions: int) -> Installation:
        """What is recorded of it."""
        sources = {topic: self.ids.get(topic, "") for topic in self.topics.sources}
        return Installation(self.topics.prefix, self.topics.app, partitions, PARTITIONER, sources)


def uneven(present: Present) -> str | None:
    """A new installation's topics must have the same number of partitions: its users are placed by it."""
    counts = present.counts
    most = max(counts.values())
    fewer = {topic: count for topic, count in counts.items() if count < most}
    if not fewer:
        return None
    return f"{_has(fewer)}, and the other topics of this installation {most}: {_grow(most)}"


def mismatch(recorded: Installation, present: Present) -> str | None:
    """Why a worker of this installation must not go on with a state that says ``recorded`` of itself."""
    topics = present.topics
    if (recorded.prefix, recorded.app) != (topics.prefix, topics.app):
        return (
            f"the state in {topics.changelog} belongs to the app {recorded.app!r} with the prefix {recorded.prefix!r}, "
            f"not to the app {topics.app!r} with the prefix {topics.prefix!r}: both give this topic the same name, so "
            "choose another app or prefix for one of them"
        )
    if recorded.partitioner != PARTITIONER:
        return (
            f"the users of this installation are placed by {recorded.partitioner!r}, and this release places them by "
            f"{PARTITIONER!r}: run the release that wrote the state"
        )
    if recorded.moving_to:
        return (
            f"this installation is on its way to {recorded.moving_to} partitions: "
            f"run `segments repartition {recorded.moving_to}` to its end, then start the workers"
        )
    return grown(recorded.partitions, present) or remade(recorded, present)


def grown(partitions: int, present: Present) -> str | None:
    """Users live in one of ``partitions`` partitions: with another number of them each would have a second home."""
    more = {topic: count for topic, count in present.counts.items() if count > partitions}
    if more:
        return _move(_has(more), max(more.values()), partitions)
    fewer = {topic: count for topic, count in present.counts.items() if count < partitions}
    if fewer:
        return f"{_has(fewer)}, and the state of this installation {partitions}: {_grow(partitions)}"
    return None


def more_partitions(topic: str, count: int, partitions: int) -> str:
    """As ``grown``, where one topic is all that is known."""
    return _move(_has({topic: count}), count, partitions)


def remade(recorded: Installation, present: Present) -> str | None:
    """A source topic that is another one than that of which the positions tell."""
    for topic, identity in recorded.topics.items():
        now = present.ids.get(topic, "")
        if identity and now and now != identity:
            return (
                f"the topic {topic} was made anew: its id is {now}, and the records that are counted so far came from "
                f"{identity}. Nothing of the new one is passed over silently: stop all workers, then run "
                f"`segments accept-topic {topic}`, which goes on at its start"
            )
    return None


def rewound(topic: str, partition: int, position: int, end: int) -> str | None:
    """What was read already cannot lie behind a topic's end."""
    if position <= end:
        return None
    return (
        f"{topic}-{partition} ends at offset {end}, but its records up to {position} are counted: it was made anew, or "
        f"lost its end. New records would be taken for counted ones: stop all workers, then run "
        f"`segments accept-topic {topic}`"
    )


def admit(meta: Meta, present: Present, partitions: int, low: Mapping[str, int]) -> dict[str, int]:
    """Complete a restored position record. ``low``: source topic → the first offset there is in this partition.

    Returns topic → records that were counted on and that retention removed unread: it goes on after them.
    """
    lost: dict[str, int] = {}
    for topic, first in low.items():
        position = meta.positions.get(topic)
        if position is not None and position < first:
            lost[topic] = first - position
            meta.lost += first - position
        # of a topic that was never read all is waited for from now on, so that a loss will be noticed
        meta.positions[topic] = max(position or 0, first)
    meta.installation = present.installation(partitions)
    return lost


def _move(found: str, count: int, partitions: int) -> str:
    return (
        f"{found}, but the state of this installation was made with {partitions}, and users would have two homes: stop "
        f"all workers, then run `segments repartition {count}`, which moves the state and the topics that are left"
    )


def _has(counts: Mapping[str, int]) -> str:
    """In the catalogue's order, so that a source comes first; a few stand for many."""
    topic, count = next(iter(counts.items()))
    others = f" (and {len(counts) - 1} more topics)" if len(counts) > 1 else ""
    return f"{topic}{others} has {count} partition{'s' * (count != 1)}"


def _grow(partitions: int) -> str:
    return f"give it as many (`kafka-topics.sh --alter --partitions {partitions}`)"
