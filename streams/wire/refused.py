"""Why a record was refused: a short code for metrics and one sentence for a person."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

#: what msgspec raises for bytes of anybody: UnicodeDecodeError also for what ``msgspec.Raw`` passed over unread,
#: RecursionError for nesting
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
#: characters of a producer's own words that a reason repeats
SHOWN: Final = 60


class Code(StrEnum):
    """Reasons, as they stand in the dead letter's ``reason-code`` header and in the metric's label."""

    EMPTY = "empty"
    NOT_UTF8 = "not-utf8"
    NOT_JSON = "not-json"
    TOO_DEEP = "too-deep"
    TOO_LARGE = "too-large"
    TEXT_TOO_LONG = "text-too-long"
    MISSING_FIELD = "missing-field"
    WRONG_TYPE = "wrong-type"
    UNKNOWN_KIND = "unknown-kind"
    UNKNOWN_EVENT = "unknown-event"
    ABSURD_TIME = "absurd-time"
    BAD_AMOUNT = "bad-amount"
    SELF_FOLLOW = "self-follow"
    TOO_MANY_AHEAD = "too-many-ahead"
    UNKNOWN_SEGMENT = "unknown-segment"
    BROKEN_INTERNAL = "broken-internal"
    DAMAGED_BATCH = "damaged-batch"
    UNWRITABLE = "unwritable"


class RefusedError(ValueError):
    """The record cannot be used; it goes to the dead letters with ``code`` and the message."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code = code


def printable(error: Exception) -> str:
    """A decoder's message for people: what it repeats of the record cannot disturb a terminal, and is not long."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(error)[:300])


def dead_letter_headers(
    error: RefusedError, topic: str, partition: int, offset: int, timestamp: int
) -> list[tuple[str, bytes]]:
    """The headers put after a refused record's own: why, and where it came from (``timestamp``: milliseconds)."""
    return [
        ("reason-code", str(error.code).encode()),
        ("reason", str(error).encode("utf-8", "replace")),
        ("origin-topic", topic.encode()),
        ("origin-partition", b"%d" % partition),
        ("origin-offset", b"%d" % offset),
        ("origin-timestamp", b"%d" % timestamp),
    ]
