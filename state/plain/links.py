"""What a user belongs to: segments, and edges (whom a user follows, which groups a user is in)."""

from __future__ import annotations

from math import isfinite

import msgspec

from state import edges
from state.layout2 import EDGE, EDGES_LEAD, MEMBER, mark_of
from state.plain.codec import Reader, ascend, name_bytes, padded, signed_time_is_right, time_is_right
from state.user import Membership

_LEAVING = 1
_WHOLE = range(2**64)


class Members:
    """Memberships by segment. One changes by being put anew."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[str, Membership] = {}

    def get(self, segment: str) -> Membership | None:
        return self._held.get(segment)

    def put(self, segment: str, member: Membership) -> None:
        """Raises ValueError for what cannot be in a record."""
        name_bytes(segment)
        numbers = (member.score, 0.0 if member.leaving is None else member.leaving)
        if not (
            time_is_right(member.since)
            and all(map(isfinite, numbers))
            and member.sequence in _WHOLE
            and member.version in _WHOLE
        ):
            raise ValueError(f"{member} cannot be in a record: it has numbers that are none, or too large")
        self._held[segment] = member

    def set_leaving(self, segment: str, score: float | None) -> None:
        """``score``: what would end the membership, were the minimum stay over; None: nothing speaks against it. Raises
        KeyError where there is none."""
        member = self._held[segment]
        if member.leaving != score:
            self.put(segment, msgspec.structs.replace(member, leaving=score))

    def remove(self, segment: str) -> None:
        """End it. Raises KeyError where there is none."""
        del self._held[segment]

    def segments(self) -> list[str]:
        """Sorted."""
        return sorted(self._held)

    def items(self) -> list[tuple[str, Membership]]:
        """(segment, membership), sorted by segment."""
        return sorted(self._held.items())

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, segment: object) -> bool:
        return segment in self._held

    def pack(self) -> bytes:
        parts = []
        for segment, member in sorted(self._held.items()):
            name, leaves = segment.encode(), member.leaving is not None
            fields = MEMBER.pack(
                _mark(segment), len(name), _LEAVING * leaves, member.since, member.score,
                0.0 if member.leaving is None else member.leaving,
                member.sequence, member.version,
            )  # fmt: skip
            parts.append(padded(fields + name))
        return b"".join(parts)

    def unpack(self, section: Reader) -> None:
        """Raises FormatError."""
        while section.left:
            mark, size, leaves, since, score, leaving, sequence, version = section.unpack(MEMBER)
            segment = section.name(size)
            section.zeros(-(MEMBER.size + size) % 8)
            section.need(mark == _mark(segment), f"{segment!r} has another's mark")
            section.need(leaves in (0, _LEAVING), f"{segment!r} has the flags {leaves}")
            section.need(time_is_right(since) and isfinite(score) and isfinite(leaving), f"{segment!r} has no numbers")
            section.need(leaves or leaving.hex() == "0x0.0p+0", f"{segment!r} leaves and does not")
            section.need(segment not in self._held, f"{segment!r} comes twice")
            self._held[segment] = Membership(since, score, version, sequence, leaving if leaves else None)
        section.need(ascend(self._held), "they are not in order")


def _mark(segment: str) -> int:
    return mark_of(segment) & 0xFFFFFFFF


class Edges:
    """Edges, or groups: see ``state.edges``."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[str, float] = {}

    def set(self, target: str, time: float, present: bool) -> bool:
        """As ``state.edges.set_edge``. Raises ValueError for what cannot be in a record."""
        name_bytes(target)
        if not (time > 0.0 and time_is_right(time)):
            raise ValueError(f"{time} cannot be the time of an edge in a record: it must be above 0 and below 2^32")
        return edges.set_edge(self._held, target, time, present)

    def get(self, target: str) -> float:
        """The signed time; 0: nothing is known of an edge to ``target``."""
        return self._held.get(target, 0.0)

    def drop(self, target: str) -> None:
        """Forget the edge, present or removed, if there is one."""
        self._held.pop(target, None)

    def present(self) -> list[str]:
        """As ``state.edges.present``."""
        return edges.present(self._held)

    def bound(self, most: int) -> list[str]:
        """As ``state.edges.bound``."""
        return edges.bound(self._held, most)

    def bound_removed(self, most: int) -> list[str]:
        """As ``state.edges.bound_removed``."""
        return edges.bound_removed(self._held, most)

    def items(self) -> list[tuple[str, float]]:
        """(target, signed time), sorted by target: the removed ones as well."""
        return sorted(self._held.items())

    @property
    def count(self) -> int:
        """Of the removed ones as well."""
        return len(self._held)

    @property
    def present_count(self) -> int:
        return sum(time > 0 for time in self._held.values())

    def pack(self) -> bytes:
        if not self._held:
            return b""
        parts = [EDGES_LEAD.pack(len(self._held), 0)]
        for target, time in sorted(self._held.items()):
            name = target.encode()
            parts.append(padded(EDGE.pack(time, len(name)) + name))
        return b"".join(parts)

    def unpack(self, section: Reader) -> None:
        """Raises FormatError."""
        count, zero = section.unpack(EDGES_LEAD)
        section.need(zero == 0, "what is not used is not 0")
        while section.left:
            time, size = section.unpack(EDGE)
            target = section.name(size)
            section.zeros(-(EDGE.size + size) % 8)
            section.need(signed_time_is_right(time), f"an edge has the time {time}")
            section.need(target not in self._held, "an edge comes twice")
            self._held[target] = time
        section.need(count == len(self._held) > 0, f"{count:,} are said to be {len(self._held):,}")
        section.need(ascend(self._held), "they are not in order")
