"""Up to when all that Kafka had committed was fetched: what the answers to fetches say, beside their records.

Each answer carries the partition's last stable offset: what lies beyond it is not committed. A fetch that was sent at
a moment *t*, and after whose records nothing is left before that offset, brought the last of what was committed at *t*;
so does one that came back empty, which is how a quiet partition is known to be quiet. A transaction that hangs moves
the last stable offset no further, and so holds nobody up. Answers are whole (aiokafka opens no fetch session): every
partition that was asked for is in them.
"""

from __future__ import annotations

from collections.abc import Iterable

from faust.types import TP

from streams.kafka.clock import Told


class Ends:
    """Of each partition the newest such moment. Written by the consumer's thread, read by the event loop."""

    def __init__(self) -> None:
        self._told: dict[TP, Told] = {}
        self._upto: dict[TP, int] = {}

    def begin(self, tps: Iterable[TP]) -> None:
        """These partitions were sought: what was said before, and handed on before, is of no account."""
        for tp in tps:
            self._upto.pop(tp, None)  # first: an answer that comes in between must not count from the old offset
            self._told.pop(tp, None)

    def handed_on(self, tp: TP, upto: int) -> None:
        """The records before the offset ``upto`` were taken out of the fetcher."""
        self._upto[tp] = upto

    def complete(self, tp: TP, sent: float) -> None:
        """By what has been handed on so far, nothing that was committed at ``sent`` is missing."""
        self._told[tp] = Told(self._upto.get(tp, 0), sent)

    def told(self, tp: TP) -> Told | None:
        """None: not since the partition was sought."""
        return self._told.get(tp)
