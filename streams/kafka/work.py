"""What a turn is given and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streams.steps import encode
from streams.steps.effects import Effects, Record, size_of
from streams.steps.turn import Turn
from streams.wire.refused import RefusedError
from streams.wire.topics import Topics

#: timers of one turn, at most
MAX_TIMERS = 5_000


@dataclass
class Work:
    """What one turn is to do."""

    sources: list[tuple[str, Sequence[Record]]] = field(default_factory=list)
    """(topic, records in order)."""
    jobs: list[encode.Job] = field(default_factory=list)
    """Encoded users."""
    refreshed: list[str] = field(default_factory=list)
    """Followed users whose local followers are all refreshed now."""
    timers: bool = False
    most_timers: int = MAX_TIMERS
    """Timers that may fire."""
    sweep: list[str] | None = None
    """Users to check against changed definitions; empty: all were checked."""
    epoch: int = 0
    """The partition's epoch of definitions when the sweep began: it may change meanwhile."""
    guards: list[bytes] = field(default_factory=list)
    """Keys of guards that may have expired."""
    idle: list[str] = field(default_factory=list)
    """Users whose state may have expired."""
    training: bool = False
    """Examples wait for long enough to be learned."""
    last_examples: bool = False
    """No more examples follow those that wait."""
    complete: bool = False
    """Write the position although nothing is to do: it shows that the local store has missed nothing."""

    refused: RefusedError | None = None
    """The records are not taken: they become dead letters with this reason."""
    cut: int = 0
    """Bytes kept of each in its dead letter; 0: as many as can be."""

    def lanes(self, topics: Topics) -> list[str]:
        """Names of what is in it: fold, labels, graph, training, reroute, encode, refresh, timers, sweep, expiry."""
        names = {
            topics.events: "fold",
            topics.labels: "labels",
            topics.graph: "graph",
            topics.examples: "training",
            topics.reroute: "reroute",
        }
        found = list(dict.fromkeys(names[topic] for topic, _ in self.sources if topic in names))
        others = {
            "encode": self.jobs,
            "refresh": self.refreshed,
            "timers": self.timers,
            "training": self.training,
            "sweep": self.sweep is not None,
            "expiry": self.idle,
        }
        return list(dict.fromkeys(found + [name for name, work in others.items() if work]))

    def __bool__(self) -> bool:
        others = self.guards or self.idle or self.complete or self.training or self.sweep is not None
        return bool(self.sources or self.jobs or self.refreshed or self.timers or others)


@dataclass(frozen=True)
class Folded:
    """A turn between its fold and its end: not committed yet."""

    work: Work
    turn: Turn
    effects: Effects
    records: int
    again: list[str]
    """Users that need encoding again."""
    lost: int
    """Records that retention removed, as far as they were known when it began."""
    lanes: list[str]
    at: float
    """When it was folded (``time.perf_counter``)."""

    @property
    def bytes(self) -> int:
        """That it writes, changes and snapshots left out."""
        return self.effects.size + size_of(self.effects.puts.values())


@dataclass(frozen=True)
class Done:
    """What came of a turn."""

    effects: Effects
    records: int
    again: list[str]
    """Users that need encoding again."""
    commit_seconds: float
