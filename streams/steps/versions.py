"""The versions of the segment definitions, in the order of their topic's log. Pure.

A record is the whole set. It counts if its number follows that of the last one that counted: of two who propose the
next version at once, the first in the log wins, and everybody who reads the log sees the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Final

import msgspec

from state.unknown import NO_TERMS, Terms
from state.windows import NEVER
from streams.rules.compile import RuleError, parse_rule
from streams.steps.segments import DefinitionError, GroupDef, Plan, SegmentDef, make_plan
from streams.wire.events import KINDS
from streams.wire.refused import UNREADABLE
from streams.wire.times import to_iso

#: what every language's JSON reads, and a position record can say
MOST_VERSIONS: Final = 2**53


class DefinitionsVersion(msgspec.Struct, frozen=True):
    """One version of all segment definitions. It is in force when its number follows that of the version before it in
    the log; other records are passed over."""

    version: int
    time: float
    """Seconds since the epoch (UTC), by the clock of who published it."""
    segments: list[SegmentDef]
    groups: list[GroupDef] = []
    author: str = ""
    comment: str = ""
    fingerprint: int = 0
    """The same definitions have the same number."""


class _Header(msgspec.Struct, frozen=True):
    """What any release can read of a version."""

    version: int
    segments: msgspec.Raw
    groups: msgspec.Raw = msgspec.Raw(b"[]")
    author: str = ""
    comment: str = ""


_read_header: Final = msgspec.json.Decoder(_Header).decode
_read_segments: Final = msgspec.json.Decoder(list[SegmentDef]).decode
_read_groups: Final = msgspec.json.Decoder(list[GroupDef]).decode


@dataclass(frozen=True)
class Version:
    """A version that counts."""

    number: int
    author: str
    comment: str
    time: float
    """When the broker took it, in seconds."""
    segments: bytes
    groups: bytes

    def __str__(self) -> str:
        by = f" by {self.author}" if self.author else ""
        return f"version {self.number} (published{by} at {to_iso(self.time)})"

    def plan(self, kept: Terms = NO_TERMS) -> Plan:
        """Compiled. Raises DefinitionError where this release cannot use it."""
        name = f"{self} of the segment definitions"
        try:
            segments, groups = _read_segments(self.segments), _read_groups(self.groups)
        except UNREADABLE as error:
            raise DefinitionError(f"{name}: {error}") from None
        return make_plan(segments, groups, name, kept)

    def asks(self) -> Terms:
        """What its rules count, as far as this release can read them."""
        try:
            segments = _read_segments(self.segments)
        except UNREADABLE:
            return NO_TERMS
        return reduce(or_, (_asked(segment.rule) for segment in segments), NO_TERMS)


def _asked(text: str) -> Terms:
    try:
        return parse_rule(text, KINDS).asks if text else NO_TERMS
    except RuleError:
        return NO_TERMS


def encode(plan: Plan, number: int, time: float, author: str, comment: str) -> tuple[bytes, bytes]:
    """Key and value of a record that proposes the plan's definitions as this version."""
    groups = sorted(plan.groups.values(), key=lambda group: group.id)
    version = DefinitionsVersion(number, time, plan.definitions, groups, author, comment, plan.fingerprint)
    return str(number).encode(), msgspec.json.encode(version)


class Ledger:
    """All versions that count, oldest first."""

    def __init__(self) -> None:
        self.versions: list[Version] = []
        self._asks: dict[int, Terms] = {}

    @property
    def newest(self) -> Version | None:
        return self.versions[-1] if self.versions else None

    def take(self, value: bytes | None, time: float) -> str:
        """The next record of the log, with its time in seconds; returns why it does not count, or nothing."""
        try:
            header = _read_header(value or b"")
        except UNREADABLE as error:
            return f"it is no version of the definitions: {error}"
        # the oldest may be gone, where an earlier release made the topic
        if not 1 <= header.version <= MOST_VERSIONS:
            return f"its version must be from 1 to {MOST_VERSIONS}"
        if self.newest is not None and header.version != self.newest.number + 1:
            last = self.newest.number if self.newest is not None else 0
            return f"it proposes version {header.version}, and version {last} is in force: somebody else was first"
        segments, groups = bytes(header.segments), bytes(header.groups)
        self.versions.append(Version(header.version, header.author, header.comment, time, segments, groups))
        return ""

    def kept(self, now: float, seconds: float) -> tuple[Terms, float]:
        """What versions asked for that were in force until less than ``seconds`` ago; and when the first of it ends."""
        found, until = NO_TERMS, NEVER
        for version, after in zip(self.versions, self.versions[1:], strict=False):
            if (ends := after.time + seconds) > now:
                if version.number not in self._asks:
                    self._asks[version.number] = version.asks()
                found |= self._asks[version.number]
                until = min(until, ends)
        return found, until


@dataclass(frozen=True)
class Difference:
    """What another version changes, by segment id."""

    added: list[str]
    removed: list[str]
    changed: list[str]

    def __str__(self) -> str:
        parts = {"added": self.added, "removed": self.removed, "changed": self.changed}
        return "; ".join(f"{what}: {', '.join(ids)}" for what, ids in parts.items() if ids) or "only its groups differ"


def difference(before: Iterable[SegmentDef], after: Iterable[SegmentDef]) -> Difference:
    old, new = ({segment.id: segment for segment in segments} for segments in (before, after))
    return Difference(
        sorted(new.keys() - old.keys()),
        sorted(old.keys() - new.keys()),
        sorted(segment for segment in new.keys() & old.keys() if new[segment] != old[segment]),
    )
