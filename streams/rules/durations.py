"""Spans of time as people write them."""

from __future__ import annotations

import re
from typing import Final

from state.windows import MAX_WINDOW

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(\d+)\s*([smhdw])")


def duration(text: str) -> int:
    """``30m``, ``24h``, ``7d``, ``2w`` or ``1d 12h`` to seconds; at most ten years. Raises ValueError."""
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip():
        raise ValueError(f"{text!r} is not a duration such as '30m', '24h' or '7d'")
    if any(len(number) > 12 for number, _ in parts):
        raise ValueError(f"{text[:40]!r} is too long a duration")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if seconds > MAX_WINDOW:
        raise ValueError(f"{text!r} is longer than {MAX_WINDOW // 86_400} days")
    return seconds
