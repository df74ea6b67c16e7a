"""How many records the next turn of a partition takes, under backlog.

The more records a turn has, the more of them share one visit to their user: one copy, one changelog record, one write.
What bounds it is what it writes: that is about what its copies hold in memory, and what one transaction has to carry.
"""

from __future__ import annotations

import sys
from typing import Final

from streams.kafka.arrivals import Room
from streams.steps.effects import Effects, Place

#: before anything is known of the users
FIRST: Final = 100_000
#: below that a turn costs more than its records
_LEAST: Final = 1_000
#: of the messages that a transaction may have, and of its bytes: one that is too large is taken again in halves
_PART: Final = 0.75
_PART_BYTES: Final = 0.5


class TurnSize:
    """Follows the last turns: at most twice as many records as in the one before."""

    def __init__(self, room: Room, most_messages: int, most_bytes: int = sys.maxsize) -> None:
        self._most = room.records
        self._bytes = min(room.written, int(most_bytes * _PART_BYTES))
        self._messages = int(most_messages * _PART)
        self.records = min(room.records, FIRST)
        """So many the next turn takes at most."""

    @classmethod
    def of(cls, room: Room, place: Place) -> TurnSize:
        """Of one partition."""
        return cls(room, place.most_messages, place.most_bytes)

    def took(self, records: int, effects: Effects) -> None:
        """A turn with so many records wrote this. A small one says nothing: its records share no visits."""
        if 2 * records < self.records:
            return
        fitting = min(
            records * self._bytes // max(1, effects.written),
            records * self._messages // max(1, effects.count),
        )
        self.records = min(self._most, max(_LEAST, min(fitting, 2 * self.records)))
