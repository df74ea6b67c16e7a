"""How far this worker's clock is off that of Kafka, by which everything arrives.

The worker's reports are stamped by the broker: the stamp lies between the moment at which the report was sent and that
at which its delivery was known. So the difference of the clocks is known within bounds, whatever the delay. Pure but
for the log: times are passed in.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

#: so many stamps count: half a minute of reports
_LOOKS: Final = 10
#: seconds of difference that are told
TOLD: Final = 2.0
_AGAIN: Final = 60.0


class Skew:
    """Written by one thread (``stamped``), read by all."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._bounds: deque[tuple[float, float]] = deque(maxlen=_LOOKS)
        self._told_at = -_AGAIN
        self.difference = 0.0
        """Seconds to add to this worker's clock; 0 as long as the two clocks may be the same."""

    def now(self) -> float:
        """The time by Kafka's clock, as far as it is known."""
        return self._clock() + self.difference

    def stamped(self, sent: float, stamp: float, known: float) -> None:
        """What was sent at ``sent`` was stamped ``stamp`` by the broker, which was known at ``known`` (seconds; by
        this worker's clock but for the stamp)."""
        self._bounds.append((stamp - known, stamp - sent))
        least, most = self._within()
        if least > most:  # somebody set a clock meanwhile
            self._bounds = deque([self._bounds[-1]], _LOOKS)
            least, most = self._within()
        self.difference = min(max(0.0, least), most)
        if abs(self.difference) >= TOLD and abs(known - self._told_at) >= _AGAIN:
            self._told_at = known
            log.warning(
                "the clock of this machine is %.1f s %s that of Kafka; timers go by Kafka's, but set it right",
                abs(self.difference), "behind" if self.difference > 0.0 else "ahead of",
            )  # fmt: skip

    def _within(self) -> tuple[float, float]:
        return max(least for least, _ in self._bounds), min(most for _, most in self._bounds)
