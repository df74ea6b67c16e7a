"""Blocks that break one rule of ``state/plain/codec.py`` each, and some that look as if they did.

Built by hand: nothing here knows the codec.
"""

from __future__ import annotations

import math
import struct

import xxhash

from tests.records import LANDMARK, golden_blocks

GOLDEN = golden_blocks()
TIME = LANDMARK + 100.5
(KINDS, CATEGORIES, CELLS, MEMBERS, KNOWN, LANE, ERASED, LABELS, EDGES, GROUPS, ALIASES, IDS) = (*range(11), 15)
MOST_TIME = 2.0**32
BAD_UTF8 = (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80")


def f(form: str, *values: object) -> bytes:
    return struct.pack("<" + form, *values)


def built(sections: dict[int, bytes], flags: int = 0, **units: int) -> bytes:
    """A block of these sections. ``units``: of a section by its number (``s3=…``) instead of what it has."""
    sizes = [units.get(f"s{number}", len(sections.get(number, b"")) // 8) for number in range(16)]
    head = b"\2" + struct.pack(">d", math.inf) + b"\0" + f("HIddQQQQIHHQ", flags, 0, TIME, 0, 0, 1, 0, 0, 0, 656, 0, 0)
    return head + f("16H", *sizes) + b"".join(content for _, content in sorted(sections.items()))


def header(at: int, data: bytes) -> bytes:
    """The golden header with other bytes."""
    block = GOLDEN["header"]
    return block[:at] + data + block[at + len(data) :]


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def cell(mark: int, kind: int, form: int, head: int, payload: bytes, units: int | None = None) -> bytes:
    payload = padded(payload)
    return f("QBBHI", mark, kind, form, (16 + len(payload)) // 8 if units is None else units, head) + payload


def tally(
    values: list[int], width: int = 0, offsets: list[int] | None = None, total: int | None = None, head: int = 7,
    until: float | None = None, mark: int = 5,
) -> bytes:  # fmt: skip
    offsets = list(range(len(values))) if offsets is None else offsets
    payload = b"" if until is None else f("d", until)
    payload += f("qH", sum(values) if total is None else total, len(values))
    payload += b"".join(f("H", offset) for offset in offsets)
    payload += b"".join(value.to_bytes(2**width, "little") for value in values)
    return cell(mark, 0, width | (0 if until is None else 128), head, payload)


def latest(time: float, mark: int = 5, form: int = 0, head: int = 0) -> bytes:
    return cell(mark, 1, form, head, f("d", time))


def opaque(
    next_change: float = 5.0, until: float = 0.0, data: bytes = b"abc", form: int = 0, head: int | None = None,
    zeros: bytes = bytes(6), mark: int = 5,
) -> bytes:  # fmt: skip
    payload = f("ddH", next_change, until, 1) + zeros + data
    return cell(mark, 255, form, len(data) if head is None else head, payload)


def cells(*content: bytes, flags: int = 0) -> bytes:
    return built({CELLS: b"".join(content)}, flags)


def member(
    segment: bytes = b"s", since: float = 5.0, score: float = 1.0, leaving: float = 0.0, leaves: int = 0, mark: int = 0
) -> bytes:
    mark = (xxhash.xxh3_64_intdigest(segment) & 0xFFFFFFFF) ^ mark
    return padded(f("IHHdddQQ", mark, len(segment), leaves, since, score, leaving, 1, 1) + segment)


def members(*content: bytes) -> bytes:
    return built({MEMBERS: b"".join(content)})


def edge(name: bytes = b"v", time: float = 5.0) -> bytes:
    return padded(f("dH", time, len(name)) + name)


def edges(*content: bytes, count: int | None = None, zero: int = 0, section: int = EDGES) -> bytes:
    return built({section: f("II", len(content) if count is None else count, zero) + b"".join(content)})


def label(segment: bytes = b"s", weight: float = 1.0, member: int = 1) -> bytes:
    return f("HdB", 9 + len(segment), weight, member) + segment


def entries(section: int, content: bytes) -> bytes:
    return built({section: padded(content)})


def aliases(count: int, size: int) -> bytes:
    """So many of so many bytes with what says it."""
    return (f("H", size - 2) + b"x" * (size - 2)) * count


def ids(first: int, stored: int, count: int, content: bytes) -> bytes:
    return built({IDS: padded(f("III", first, stored, count) + content)})


def numbers(section: int, bitmap: int, *values: float) -> bytes:
    return built({section: f("Q", bitmap) + b"".join(f("d", value) for value in values)})


NAN, INF = math.nan, math.inf
ID = b"\1\2\3\4\5\6\7"
FAULTS: dict[str, bytes] = {
    "format 1": header(0, b"\1"),
    "format 3": header(0, b"\3"),
    "due is no number": header(1, struct.pack(">d", NAN)),
    "due below 0": header(1, struct.pack(">d", -1.0)),
    "byte 9": header(9, b"\1"),
    "flag 16": header(10, f("H", 16)),
    "flag of unknown without": header(10, f("H", 4)),
    "flag of opaque without": header(10, f("H", 8)),
    **{f"time {time}": header(16, f("d", time)) for time in (NAN, INF, -1.0, MOST_TIME)},
    **{f"first {time}": header(24, f("d", time)) for time in (NAN, INF, -1.0, MOST_TIME)},
    "month before": header(68, f("H", 655)),
    "month after": header(68, f("H", 657)),
    "u16 at 70": header(70, f("H", 1)),
    **{f"section {number}": built({number: bytes(8)}) for number in (11, 12, 13, 14)},
    "a section is cut": built({EDGES: f("II", 1, 0)}, s8=3),
    "a section is larger than the block": built({EDGES: f("II", 1, 0) + edge()}, s8=0xFFFE),
    "large, cut": built({EDGES: f("II", 0xFFFF * 8 + 8, 0)}, s8=0xFFFF),
    "large and small": built({EDGES: f("II", 32, 0) + f("II", 1, 0) + edge()}, s8=0xFFFF),
    "large and just not": built({ALIASES: f("II", 8 * 0xFFFF, 0) + aliases(8, 65_534)}, s10=0xFFFF),
    "large of no whole units": built({ALIASES: f("II", 0xFFFF * 8 + 9, 0) + bytes(0xFFFF * 8 + 1)}, s10=0xFFFF),
    "large of nothing": built({EDGES: f("II", 0, 0)}, s8=0xFFFF),
    "above 8 MiB": built({ALIASES: f("II", 8 + (8 << 20), 0) + aliases(128, 65_536)}, s10=0xFFFF),
    "kinds: no rows": numbers(KINDS, 0),
    "kinds: a number too few": numbers(KINDS, 1, 1.0),
    "kinds: a number too many": numbers(KINDS, 1, 1.0, 1.0, 1.0),
    **{f"kinds: {value}": numbers(KINDS, 1, 1.0, value) for value in (NAN, INF, -1.0, math.nextafter(2.0**120, INF))},
    "categories: no rows": numbers(CATEGORIES, 0),
    "categories: a number too few": numbers(CATEGORIES, 3, 1.0),
    "categories: a number too many": numbers(CATEGORIES, 1, 1.0, 1.0),
    **{f"categories: {value}": numbers(CATEGORIES, 1, value) for value in (NAN, INF, -1.0, 2.0**121)},
    "cells: half of one": cells(latest(5.0) + bytes(8)),
    "cells: of no size": cells(cell(5, 1, 0, 0, f("d", 5.0), units=0)),
    "cells: too small": cells(cell(5, 1, 0, 0, f("d", 5.0), units=1)),
    "cells: too large": cells(cell(5, 1, 0, 0, f("d", 5.0), units=4)),
    "cells: not in order": cells(latest(5.0, mark=6), latest(5.0, mark=5)),
    "cells: twice": cells(latest(5.0), latest(6.0)),
    "cells: a later type": cells(cell(5, 2, 0, 0, f("d", 5.0))),
    "tally: a later form": cells(cell(5, 0, 4, 7, f("qHHB", 1, 1, 0, 1))),
    **{f"tally: until {time}": cells(tally([1], until=time)) for time in (NAN, INF, -1.0, MOST_TIME)},
    "tally: empty": cells(tally([], head=0)),
    "tally: empty with a head": cells(tally([], head=7, until=5.0)),
    "tally: empty and wide": cells(cell(5, 0, 129, 0, f("dqH", 5.0, 0, 0))),
    "tally: 4,097 buckets": cells(tally([1] * 4_097)),
    "tally: more buckets than bytes": cells(cell(5, 0, 0, 7, f("qHH", 0, 500, 0))),
    "tally: begins behind its head": cells(tally([1, 1], offsets=[1, 2])),
    "tally: not in order": cells(tally([1, 1, 1], offsets=[0, 2, 1])),
    "tally: twice": cells(tally([1, 1], offsets=[0, 0])),
    "tally: a bucket from 2^32 on": cells(tally([1, 1], head=2**32 - 1)),
    "tally: wider than it must be": cells(tally([1, 255], width=1)),
    "tally: much wider": cells(tally([1, 65_536], width=3)),
    "tally: too much": cells(tally([2**50 + 1], width=3)),
    "tally: below 0": cells(tally([2**64 - 1], width=3, total=-1)),
    "tally: another total": cells(tally([1, 2], total=4)),
    "tally: padding": cells(cell(5, 0, 0, 7, f("qHHB", 1, 1, 0, 1) + b"\0\1")),
    "tally: a unit more": cells(cell(5, 0, 0, 7, f("qHHB", 1, 1, 0, 1) + bytes(8))),
    **{f"latest: {time}": cells(latest(time)) for time in (NAN, INF, -INF, 0.0, -0.0, MOST_TIME, -MOST_TIME)},
    "latest: form": cells(latest(5.0, form=1)),
    "latest: head": cells(latest(5.0, head=1)),
    "latest: a unit more": cells(cell(5, 1, 0, 0, f("dd", 5.0, 0.0))),
    "latest: nothing": cells(cell(5, 1, 0, 0, b"")),
    **{f"opaque: next {time}": cells(opaque(next_change=time), flags=8) for time in (NAN, -1.0)},
    **{f"opaque: until {time}": cells(opaque(until=time), flags=8) for time in (NAN, INF, -1.0, MOST_TIME)},
    "opaque: form": cells(opaque(form=1), flags=8),
    "opaque: the six": cells(opaque(zeros=b"\0\0\0\0\0\1"), flags=8),
    "opaque: more than there is": cells(opaque(head=9), flags=8),
    "opaque: less than there is": cells(opaque(data=bytes(9), head=1), flags=8),
    "opaque: padding": cells(opaque(head=2), flags=8),
    "opaque: not told": cells(opaque()),
    "opaque: cut": cells(cell(5, 255, 0, 0, bytes(16)), flags=8),
    "members: cut": built({MEMBERS: member()[:-8]}),
    "members: no name": members(member(b"")),
    **{f"members: {name!r}": members(member(name)) for name in BAD_UTF8},
    "members: not in order": members(member(b"b"), member(b"a")),
    "members: twice": members(member(), member()),
    "members: another's mark": members(member(mark=1)),
    "members: a later flag": members(member(leaves=2)),
    **{f"members: since {time}": members(member(since=time)) for time in (NAN, INF, -1.0, MOST_TIME)},
    **{f"members: score {score}": members(member(score=score)) for score in (NAN, INF, -INF)},
    **{f"members: leaving {score}": members(member(leaving=score, leaves=1)) for score in (NAN, INF, -INF)},
    "members: leaving and not": members(member(leaving=0.5)),
    "members: -0 and not": members(member(leaving=-0.0)),
    "members: padding": members(member()[:-1] + b"\1"),
    "members: a unit more": members(member(), bytes(8)),
    **{f"known: {time}": built({KNOWN: f("d", time)}, 4) for time in (NAN, INF, -1.0)},
    "known: not told": built({KNOWN: f("d", 5.0)}),
    "known: twice": built({KNOWN: f("dd", 5.0, 5.0)}, 4),
    "lane: nothing": built({LANE: bytes(24)}),
    "lane: cut": built({LANE: f("QII", 1, 0, 0)}),
    "lane: longer": built({LANE: f("QIIIIQ", 1, 0, 0, 0, 0, 0)}),
    "lane: the last": built({LANE: f("QIIII", 1, 0, 0, 0, 1)}),
    "lane: more taken than put": built({LANE: f("QIIII", 1, 0, 3, 4, 0)}),
    **{f"erased: {time}": built({ERASED: f("d", time)}) for time in (NAN, INF, 0.0, -1.0, MOST_TIME)},
    "erased: twice": built({ERASED: f("dd", 5.0, 0.0)}),
    "labels: none": entries(LABELS, bytes(8)),
    "labels: no segment": entries(LABELS, label(b"")),
    "labels: too small": entries(LABELS, f("HB", 1, 1)),
    **{f"labels: weight {weight}": entries(LABELS, label(weight=weight)) for weight in (NAN, INF, -INF)},
    "labels: neither in nor out": entries(LABELS, label(member=2)),
    **{f"labels: {name!r}": entries(LABELS, label(name)) for name in BAD_UTF8},
    "labels: cut": entries(LABELS, f("HdB", 90, 1.0, 1) + b"s"),
    "labels: something after the end": entries(LABELS, label() + b"\0\0\1"),
    "labels: a unit more": entries(LABELS, label() + bytes(12)),
    "aliases: none": entries(ALIASES, bytes(8)),
    **{f"aliases: {name!r}": entries(ALIASES, f("H", len(name)) + name) for name in BAD_UTF8},
    "aliases: cut": entries(ALIASES, f("H", 9) + b"abc"),
    "aliases: one byte after the end": entries(ALIASES, f("H", 5) + b"abcde" + b"\1"),
    "aliases: a unit more": entries(ALIASES, f("H", 6) + b"abcdef" + bytes(8)),
    **{
        f"{name}: {fault}": block
        for name, section in (("edges", EDGES), ("groups", GROUPS))
        for fault, block in {
            "none": edges(section=section),
            "more than there are": edges(edge(), count=2, section=section),
            "fewer than there are": edges(edge(), count=0, section=section),
            "the u32 after the count": edges(edge(), zero=1, section=section),
            "no name": edges(edge(b""), section=section),
            "not UTF-8": edges(edge(b"\xff"), section=section),
            "not in order": edges(edge(b"b"), edge(b"a"), section=section),
            "twice": edges(edge(), edge(), section=section),
            "a beginning after the longer": edges(edge(b"ab"), edge(b"a"), section=section),
            "padding": edges(edge()[:-1] + b"\1", section=section),
            "a unit more": edges(edge(), bytes(8), count=1, section=section),
            "cut": built({section: f("II", 1, 0) + edge(b"v" * 9)[:-8]}),
            **{
                f"time {time}": edges(edge(time=time), section=section)
                for time in (NAN, INF, 0.0, -0.0, MOST_TIME, -MOST_TIME)
            },
        }.items()
    },
    "ids: nothing": ids(0, 0, 0, b""),
    "ids: first behind stored": ids(3, 2, 0, b""),
    "ids: 1,025 records": ids(1, 1_026, 0, b""),
    "ids: 64": ids(0, 0, 64, (bytes(4) + ID * 16) * 4),
    "ids: fewer than said": ids(0, 0, 3, bytes(4) + ID),
    "ids: more than said": ids(0, 0, 1, bytes(4) + ID * 3),
    "ids: padding": ids(0, 0, 1, bytes(4) + ID + b"\1"),
    "ids: cut": built({IDS: f("II", 1, 1)}),
    "kinds and nothing else, one unit short": built({KINDS: f("Qdd", 1, 1.0, 1.0)})[:-8],
}
#: as unusual as may be
SOUND: dict[str, bytes] = {
    "due 0": header(1, struct.pack(">d", 0.0)),
    "the last moment": header(16, f("d", math.nextafter(MOST_TIME, 0.0)))[:68]
    + f("H", int(MOST_TIME / 2_592_000))
    + GOLDEN["header"][70:],
    "numbers of all 64 bits": header(32, b"\xff" * 8),
    "row 63": numbers(KINDS, 1 << 63, 0.0, 2.0**120),
    "ids twice": ids(0, 0, 3, bytes(4) + ID * 3),
    "1,024 records": ids(2**31, 2**31 + 1_024, 0, b""),
    "an alias twice": entries(ALIASES, f("H", 1) + b"a" + f("H", 1) + b"a"),
    "an alias that fills its section": entries(ALIASES, f("H", 6) + b"abcdef"),
    "an alias with one byte left": entries(ALIASES, f("H", 5) + b"abcde"),
    "a bucket of nothing": cells(tally([0])),
    "4,096 buckets": cells(tally([1] * 4_096)),
    "the last bucket": cells(tally([1, 1], head=2**32 - 2)),
    "a bucket 65,535 later": cells(tally([1, 1], offsets=[0, 65_535])),
    "opaque without bytes": cells(opaque(data=b"", next_change=INF), flags=8),
    "a mark of 0": cells(latest(-5.0, mark=0), latest(5.0, mark=2**64 - 1)),
    "known at 0": built({KNOWN: f("d", 0.0)}, 4),
    "names with NUL": edges(edge(b"a"), edge(b"a\0"), edge(b"a\0\0"), edge("\U0010ffff".encode())),
    "a name of 65,535 bytes": members(member(b"x" * 65_535)),
    "leaving -0": members(member(leaving=-0.0, leaves=1)),
    "just not large": built({ALIASES: aliases(8, 65_534)}),
    "just large": built({ALIASES: f("II", 8 * 0xFFFF + 8, 0) + aliases(8, 65_535)}, s10=0xFFFF),
    "8 MiB": built({ALIASES: f("II", (8 << 20) - 112, 0) + aliases(127, 65_536) + aliases(1, 65_416)}, s10=0xFFFF),
}
