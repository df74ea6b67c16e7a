"""A user's behaviour as numbers: what the behaviour encoder reads."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from state.decay import FAST, SLOW, value_at
from state.user import CATEGORY_BUCKETS, DWELL, SPEND, UserState

RAW_DIM: Final = 32 + CATEGORY_BUCKETS
#: kind → its two places: decayed over a day, and over thirty days. Written out, because trained weights know a number
#: by its place: a new kind takes two of the spare places, and never moves what is there.
PLACES: Final[dict[str, tuple[int, int]]] = {
    "view": (0, 11),
    "click": (1, 12),
    "purchase": (2, 13),
    "comment": (3, 14),
    "follow": (4, 15),
    "unfollow": (5, 16),
    "join": (6, 17),
    "leave": (7, 18),
    "identify": (8, 19),
    "alias": (9, 20),
    "delete": (10, 21),
}
SPEND_FAST: Final = 22
SPEND_SLOW: Final = 23
DWELL_SLOW: Final = 24
FOLLOWEES: Final = 25
GROUPS: Final = 26
TEXTS: Final = 27
SPARE: Final = (28, 29, 30, 31)
CATEGORIES: Final = 32


def raw_features(state: UserState) -> npt.NDArray[np.float32]:
    """Non-negative features at ``state.time``; float32 of shape (96,).

    0-10 events of a kind decayed over a day, 11-21 over thirty days, 22-23 money (day, thirty days), 24 dwell seconds
    (thirty days), 25 followees, 26 groups, 27 texts, 28-31 spare, 32-95 hashed categories (thirty days).
    """
    out = np.zeros(RAW_DIM, dtype=np.float32)
    now = state.time
    for key, (since, fast, slow) in state._decayed.items():
        if key in PLACES:
            fast_at, slow_at = PLACES[key]
            out[fast_at] = value_at(fast, since, now, FAST)
            out[slow_at] = value_at(slow, since, now, SLOW)
        elif key == SPEND:
            out[SPEND_FAST] = value_at(fast, since, now, FAST)
            out[SPEND_SLOW] = value_at(slow, since, now, SLOW)
        elif key == DWELL:
            out[DWELL_SLOW] = value_at(slow, since, now, SLOW)
    out[FOLLOWEES] = state.edges.present_count
    out[GROUPS] = state.groups.present_count
    out[TEXTS] = state.texts
    for bucket, (since, slow) in state._categories.items():
        out[CATEGORIES + bucket] = value_at(slow, since, now, SLOW)
    return out
