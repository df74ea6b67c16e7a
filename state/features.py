"""A user's behaviour as numbers: what the behaviour encoder reads."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from state.record import Record
from state.user import CATEGORY_BUCKETS

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


def raw_features(state: Record) -> npt.NDArray[np.float32]:
    """Non-negative features at ``state.time``; float32 of shape (96,).

    0-10 events of a kind decayed over a day, 11-21 over thirty days, 22-23 money (day, thirty days), 24 dwell seconds
    (thirty days), 25 followees, 26 groups, 27 texts, 28-31 spare, 32-95 hashed categories (thirty days).
    """
    out = np.zeros(RAW_DIM, dtype=np.float32)
    state.features(out)
    return out
