"""What the texts of an installation are encoded in: one record for all workers, in the log of the definitions. Pure.

As with the definitions, a record counts if its number follows that of the last one that counted: of two workers that
start at once the first in the log decides, and everybody who reads the log sees the same.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

from encoders.base import Precision
from streams.wire.refused import UNREADABLE

#: of such a record; versions of the definitions have their number for a key
KEY: Final = b"text-precision"
Setting = Literal["auto"] | Precision
_KNOWN: Final[tuple[Precision, ...]] = get_args(Precision)


class TextPrecision(msgspec.Struct, frozen=True):
    """What the texts of one app are encoded in, from when its number follows that of the record before it."""

    app: str
    number: int
    precision: str
    """``float32``, ``bf16`` or ``int8``; a later release may know more."""
    author: str = ""
    why: str = ""
    """In words: what was measured, or that it was set."""

    def __str__(self) -> str:
        by = f" by {self.author}" if self.author else ""
        return f"{self.precision} (recorded{by}{f': {self.why}' if self.why else ''})"


_decode: Final = msgspec.json.Decoder(TextPrecision).decode


def encode(record: TextPrecision) -> tuple[bytes, bytes]:
    """Key and value."""
    return KEY, msgspec.json.encode(record)


def following(found: TextPrecision | None, value: bytes | None, app: str) -> TextPrecision | None:
    """What is recorded for the app when this is the log's next record with ``KEY``, after ``found``."""
    try:
        record = _decode(value or b"")
    except UNREADABLE:
        return found
    # the oldest may be gone, where an earlier release made the topic
    counts = record.number >= 1 if found is None else record.number == found.number + 1
    return record if record.app == app and counts else found


def without_record(setting: Setting, begun: bool) -> Precision | None:
    """What to record where nothing is yet; None: what is the fastest has to be measured.

    ``begun``: there is a state already. A release that knew no record made it, in float32 unless it was told otherwise.
    """
    if setting != "auto":
        return setting
    return "float32" if begun else None


def precision_of(record: TextPrecision) -> Precision | None:
    """None: one that this release does not know."""
    return next((known for known in _KNOWN if known == record.precision), None)


def unusable(setting: Setting, recorded: TextPrecision) -> str | None:
    """Why a worker that was told ``setting`` must not encode; None: it goes by the record."""
    if precision_of(recorded) is None:
        return (
            f"the texts of this installation are encoded in {recorded}, which this release does not know: run the "
            "release that recorded it"
        )
    if setting in ("auto", recorded.precision):
        return None
    return (
        f"the texts of this installation are encoded in {recorded}, and SEGMENTS_TEXT_PRECISION says {setting}: "
        "vectors of both would be mixed. Unset it to go by the record, or stop all workers and run `segments "
        f"text-precision {setting}`, which is for all of them"
    )


def replaced(mine: TextPrecision, newest: TextPrecision | None) -> str | None:
    """Why a worker that encodes by ``mine`` cannot go on."""
    if newest is None or newest.precision == mine.precision:
        return None
    return (
        f"the texts of this installation are encoded in {newest} from now on, and this worker began with "
        f"{mine.precision}: start it again"
    )
