"""How long the same thing is tried again while Kafka refuses it: after growing pauses, and not for ever."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from streams.kafka.errors import PermanentError

#: seconds for which the same thing is tried again
GIVE_UP_SECONDS: Final = 600.0
#: seconds before it is
_PAUSES: Final = (0.1, 0.5, 2.0, 5.0, 10.0, 30.0)


class Patience:
    """``what``: that which is tried, in words with which a sentence can begin."""

    def __init__(
        self, what: str, give_up_seconds: float = GIVE_UP_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.in_a_row = 0
        """Attempts that have failed since the last one that did not."""
        self._what = what
        self._give_up_seconds = give_up_seconds
        self._clock = clock
        self._since = 0.0

    @property
    def seconds(self) -> float:
        """Since the first of these attempts."""
        return self._clock() - self._since if self.in_a_row else 0.0

    def pause(self, error: Exception) -> float:
        """An attempt has failed: seconds until the next. Raises PermanentError when it was tried for long enough."""
        if not self.in_a_row:
            self._since = self._clock()
        pause = _PAUSES[min(self.in_a_row, len(_PAUSES) - 1)]
        self.in_a_row += 1
        if self.seconds + pause > self._give_up_seconds:
            raise PermanentError(
                f"{self._what} was tried {self.in_a_row} times in {self.seconds:.0f} s and is given up: {error}"
            ) from error
        return pause

    def went_well(self) -> None:
        """What fails next fails for the first time."""
        self.in_a_row = 0
