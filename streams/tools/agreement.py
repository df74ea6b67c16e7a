"""How well the learned segments of a town agree with its hidden truth, from what subscribers can read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from streams.kafka.admin import ConfValue
from streams.tools.reader import TopicReader
from streams.wire.emit import UserSegments

PREFIX = "taste-"
_decode = msgspec.json.Decoder(UserSegments).decode


@dataclass(frozen=True)
class Agreement:
    """Of ``people`` users, ``placed`` are in a taste segment, and for ``right`` of these it is the true taste."""

    people: int
    placed: int
    right: int

    @property
    def share(self) -> float | None:
        """Right among the placed, in [0, 1]; None when nobody is placed."""
        return self.right / self.placed if self.placed else None

    @property
    def coverage(self) -> float:
        """Placed among the people, in [0, 1]; 0 when there are none."""
        return self.placed / self.people if self.people else 0.0


def taste_of(snapshot: UserSegments) -> str | None:
    """The taste whose segment the user is in; of several the one with the highest score, then the first by name."""
    tastes = [(-now.score, segment) for segment, now in snapshot.segments.items() if segment.startswith(PREFIX)]
    return min(tastes)[1].removeprefix(PREFIX) if tastes else None


def agreement(snapshots: Mapping[str, UserSegments], truth: Mapping[str, str]) -> Agreement:
    """Compare the users of ``truth`` (user -> taste) with where they are; without a snapshot they are in no segment."""
    found = {user: taste_of(snapshots[user]) for user in truth if user in snapshots}
    placed = {user: taste for user, taste in found.items() if taste is not None}
    return Agreement(len(truth), len(placed), sum(truth[user] == taste for user, taste in placed.items()))


def newest(
    snapshots: Mapping[str, UserSegments], records: Iterable[tuple[bytes | None, bytes | None]]
) -> dict[str, UserSegments]:
    """``snapshots`` after the records (key, value) of ``user-segments`` in their order; a tombstone removes the user.

    Raises ValueError (of msgspec) when a value is not a snapshot.
    """
    result = dict(snapshots)
    for key, value in records:
        user = (key or b"").decode()
        if value is None:
            result.pop(user, None)
        else:
            result[user] = _decode(value)
    return result


class Memberships:
    """The present memberships of all users, read from the topic; each look goes on where the last one ended."""

    def __init__(self, conf: Mapping[str, ConfValue], topic: str) -> None:
        self._reader = TopicReader(conf, topic, from_start=True, group="segments-agreement")
        self._snapshots: dict[str, UserSegments] = {}

    def now(self) -> Mapping[str, UserSegments]:
        """User -> snapshot, as of the end of the topic now. Raises TimeoutError, AdminError, KafkaException."""
        records = self._reader.read_to_end()
        self._snapshots = newest(self._snapshots, ((record.key(), record.value()) for record in records))
        return self._snapshots

    def close(self) -> None:
        """Release the connection."""
        self._reader.close()
