"""Times on the wire: seconds, milliseconds or ISO 8601 become seconds since the epoch (UTC)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import lru_cache

from streams.wire.refused import Code, RefusedError

#: Numbers from here on are milliseconds (as seconds: the year 5138; as milliseconds: March 1973).
MILLISECONDS_FROM = 1e11
#: no event is later (7 February 2106), in seconds: users' records have room for times below 2^32
LATEST_TIME = 2.0**32 - 2.0**-10


def iso_seconds(text: str) -> float:
    """ISO 8601 to seconds since the epoch, to the microsecond. A time without a zone is taken as UTC.

    Raises RefusedError when it is not a time.
    """
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise RefusedError(
            Code.ABSURD_TIME, f"time {text[:40]!r} is neither a number of seconds or milliseconds nor ISO 8601"
        ) from None
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return parsed.timestamp()


def wire_seconds(value: float | str) -> float:
    """Seconds, milliseconds or ISO 8601 to seconds since the epoch, always below ``MILLISECONDS_FROM``.

    So every time that is taken has a date, and seconds are never mistaken for milliseconds later on.
    Raises RefusedError for what is no time, and for numbers too large to be milliseconds.
    """
    if isinstance(value, str):
        seconds = iso_seconds(value)
    else:
        seconds = value / 1000.0 if value >= MILLISECONDS_FROM else float(value)
    if seconds < MILLISECONDS_FROM:
        return seconds
    if isinstance(value, str):
        raise RefusedError(Code.ABSURD_TIME, f"the time {value[:40]!r} is too far ahead, which cannot be right")
    raise RefusedError(
        Code.ABSURD_TIME,
        f"the time {value:.10g} is too large: numbers are seconds or milliseconds, not micro- or nanoseconds",
    )


def to_iso(seconds: float) -> str:
    """Seconds since the epoch to ISO 8601 in UTC, to the millisecond: rounded to microseconds, then cut off.

    Raises ValueError, OverflowError or OSError for what has no date.
    """
    fraction, whole = math.modf(seconds)
    micros = round(fraction * 1e6)
    if not 0 <= micros < 1_000_000:  # of another second; or before 1970
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return f"{_second_told(int(whole))}.{micros // 1000:03}Z"


@lru_cache(4096)
def _second_told(second: int) -> str:
    """Of records that are written at once many are of the same seconds."""
    return datetime.fromtimestamp(second, UTC).replace(tzinfo=None).isoformat()


def check_time(seconds: float, earliest: float, latest: float) -> None:
    """Refuse times that cannot be when a user did something."""
    if earliest <= seconds <= latest:
        return
    bound = f"before {_shown(earliest)}" if seconds < earliest else f"after {_shown(latest)}"
    raise RefusedError(Code.ABSURD_TIME, f"the time {_shown(seconds)} is {bound}, which cannot be right")


def _shown(seconds: float) -> str:
    """A date, or for what has none (such as years above 9999) the number."""
    try:
        return to_iso(seconds)
    except (ValueError, OverflowError, OSError):
        return f"{seconds:g} s"
