"""The rows of the section KINDS: which counter has which bit; and how fast counters decay.

The table only grows: a row, once given, is in every record that was ever written. What is no kind of event has its row
here as well, under a name that no kind has.
"""

from __future__ import annotations

from typing import Final

from state.user import DWELL, SPEND

#: by row; at most 64
COUNTERS: Final = (
    "view", "click", "purchase", "comment", "follow", "unfollow", "join", "leave", "identify", "alias", "delete",
    SPEND, DWELL,
)  # fmt: skip
#: counter → its row
ROW: Final = {name: row for row, name in enumerate(COUNTERS)}
SPEND_ROW: Final = ROW[SPEND]
DWELL_ROW: Final = ROW[DWELL]
#: half-lives in seconds, of the fast counters a day, of the slow ones thirty
FAST: Final = 86_400.0
SLOW: Final = 30 * 86_400.0
