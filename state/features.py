"""A user's behaviour as numbers: what the behaviour encoder reads."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from state import edges
from state.decay import FAST, SLOW, value_at
from state.user import CATEGORY_BUCKETS, DWELL, SPEND, UserState

#: order of the kinds in the vector; new kinds go into the spare places
KINDS: Final = (
    "view", "click", "purchase", "comment", "follow", "unfollow", "join", "leave", "identify", "alias", "delete",
)  # fmt: skip
RAW_DIM: Final = 32 + CATEGORY_BUCKETS
_SPEND_AT = 2 * len(KINDS)
_KIND_AT = {kind: place for place, kind in enumerate(KINDS)}


def raw_features(state: UserState) -> npt.NDArray[np.float32]:
    """Non-negative features at ``state.time``; float32 of shape (96,).

    0-10 events of a kind decayed over a day, 11-21 over thirty days, 22-23 money (day, thirty days), 24 dwell seconds
    (thirty days), 25 followees, 26 groups, 27 texts, 28-31 spare, 32-95 hashed categories (thirty days).
    """
    out = np.zeros(RAW_DIM, dtype=np.float32)
    now = state.time
    kinds = len(KINDS)
    for key, (since, fast, slow) in state.decayed.items():
        place = _KIND_AT.get(key)
        if place is not None:
            out[place] = value_at(fast, since, now, FAST)
            out[kinds + place] = value_at(slow, since, now, SLOW)
        elif key == SPEND:
            out[_SPEND_AT] = value_at(fast, since, now, FAST)
            out[_SPEND_AT + 1] = value_at(slow, since, now, SLOW)
        elif key == DWELL:
            out[_SPEND_AT + 2] = value_at(slow, since, now, SLOW)
    out[25] = len(edges.present(state.edges))
    out[26] = len(edges.present(state.groups))
    out[27] = state.texts
    for bucket, (since, slow) in state.categories.items():
        out[32 + bucket] = value_at(slow, since, now, SLOW)
    return out
