"""Good records, and damage to them: fields dropped, retyped, made huge; bytes flipped, spliced, cut. Seeded."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

from encoders.base import FUSED, NODE_DIM
from encoders.heads import make_head
from streams.wire.events import KINDS
from streams.wire.segment_spec import CALLS, TRACK
from tests.records import golden_blocks

GOOD_TIME: Final = 1_690_000_000.0
#: few enough to meet again, so that duplicates and edges between them happen
USERS: Final = 500
_TEXTS: Final = (
    "I love to cook",
    'schön 👍 \\ " \n',
    "the match went to penalties",
    "x",
    "\u202eabc\u0000",
    "\ufdfa" * 40,
)
_FIELDS: Final = ("user", "kind", "time", "id", "item", "category", "amount", "dwell", "text", "target", "group",
                  "type", "event", "userId", "anonymousId", "messageId", "timestamp", "properties", "context",
                  "segment", "member", "weight", "sentAt", "traits", "extra")  # fmt: skip
_SURROGATES: Final = ("\ud800", "\udfff\ud800", "a\ud83d", "\ude00\ud83d")
_STRINGS: Final = (
    "", " ", "\n\t", "\0", "a\0b", "\x1b[2J", "u-1", "true", "null", "NaN", "Infinity", "-1", "1e999", "1_0", "0x10",
    "\u0661\u0662", "é" * 512, "é" * 513, "x" * 513, "\u2028", "\ufeff", "\U0010ffff", "../../etc/passwd",
    "{}", "[]", '"', "\\",
)  # fmt: skip
_NUMBERS: Final = (
    0, -0.0, -1, 1, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 2**64, 10**18, 10**400, 1e11, 99_999_999_999.9, 1e-320,
    1e308, -1e300, 5e-324, float("nan"), float("inf"), float("-inf"), 1e12, 0.1 + 0.2, 1_690_000_000_125, 2.5e15,
    604_800.001,
)  # fmt: skip
_TIMES: Final[tuple[Any, ...]] = (
    "2023-07-22T04:26:40Z", "2023-07-22T04:26:40.125+02:00", "2023-07-22", "20230722T042640", "2023-W29-6", "2023-7-2",
    "9999-12-31T23:59:59-23:59", "0001-01-01T00:00:00+23:59", "2023-02-30T00:00:00Z", "2023-07-22T25:00:00Z", "noon",
    "2023-07-22T04:26:60Z", "2023-07-22 04:26:40", "2023-07-22T04:26:40,5Z", "\uff12\uff10\uff12\uff13-07-22",
    "1690000000",
    "-1", 1_690_000_000, 1_690_000_000_125, 12.5, 32_472_144_000, 1_690_000_000_000_000, -5, 1e308, True, None, [], {},
)  # fmt: skip
#: pieces that break parsers
_PIECES: Final = (
    b'"\\ud800"', b'"\\udfff\\ud800"', b"\\ud83d", b"NaN", b"-Infinity", b"1e999", b"-0.0", b"9" * 4_301, b"null",
    b"true", b"[" * 2_000, b'{"a":' * 2_000, b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\0", b'"\\u0000"',
    b"\x1f", b"}", b'"', b"\\",
    b",", b":", b"1e11", b"2.5e15", b"-1", b"\xf4\x90\x80\x80", b"\xff\xfe", b"/*", b"//", b"'", b"\r\n",
    b"\xc1",
    b"\x91" * 2_000, b"\xdd\xff\xff\xff\xff", b"\xdb\xff\xff\xff\xff", b"\xcf" + b"\xff" * 8,
    b"\xcb\x7f\xf8" + b"\0" * 6,
)  # fmt: skip


def good_events() -> list[dict[str, Any]]:
    """A good record of each kind in our own form, and of each call and track event of the Segment Spec."""
    found: list[dict[str, Any]] = [
        {"kind": kind, "time": GOOD_TIME, "item": "i", "category": "food", "amount": 12.5, "dwell": 3, "text": "good",
         "target": "u-other", "group": "g"}
        for kind in KINDS
    ]  # fmt: skip
    found += [{"kind": "click", "time": GOOD_TIME}, {"kind": "view", "time": "2023-07-22T04:26:40.125+02:00"},
              {"kind": "purchase", "time": 1_690_000_000_125, "amount": 99}]  # fmt: skip
    properties = {"revenue": "12.50", "products": [{"product_id": 7, "category": "food"}], "review_body": "superb",
                  "followedId": "u-other", "group": "g"}  # fmt: skip
    found += [
        {"type": "track", "event": name, "timestamp": "2023-07-22T04:26:40.000Z", "properties": properties}
        for name in TRACK
    ]
    found += [
        {"type": name, "timestamp": GOOD_TIME, "previousId": "old", "groupId": "g", "traits": {"a": [1, {"b": None}]},
         "context": {"library": {"name": "analytics.js"}}}
        for name in CALLS
    ]  # fmt: skip
    return found


LABEL: Final[dict[str, Any]] = {"segment": "taste-food", "member": True, "time": GOOD_TIME, "weight": 2.0}


class Mutator:
    """An endless, seeded stream of damaged records: the same seed gives the same records."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._events = good_events()
        self._count = 0
        self._last: list[bytes] = []
        self._vector = b"\0\x3c" * NODE_DIM
        self._blocks = [block for name, block in golden_blocks().items() if name != "ids-record"]
        self._head = make_head("rls", ["taste-food"], FUSED).published()

    # records of the public topics

    def event(self) -> bytes | None:
        """A record of the event topic: in three of ten cases a good one, else with one to four kinds of damage."""
        return self._record(self._own_event)

    def label(self) -> bytes | None:
        """A record of the label topic."""
        return self._record(self._own_label)

    def _record(self, make: Callable[[], dict[str, Any]]) -> bytes | None:
        draw = self._random
        roll = draw.random()
        if roll < 0.05 and self._last:
            return draw.choice(self._last)  # a duplicate
        fields = make()
        if roll < 0.35:
            value = self._dump(fields)
        elif roll < 0.75:
            for _ in range(draw.choice((1, 1, 1, 2, 4))):
                self._damage_fields(fields)
            value = self._dump(fields)
        elif roll < 0.752:
            return None
        else:
            value = self.damage_bytes(self._dump(fields))
        if len(value) < 4_096:
            self._last.append(value)
            if len(self._last) > 200:
                del self._last[:100]
        return value

    def _own_event(self) -> dict[str, Any]:
        draw = self._random
        fields = dict(draw.choice(self._events))
        self._count += 1
        user, event = f"u-{draw.randrange(USERS)}", f"e-{self._count}"
        if "kind" in fields:
            fields["user"], fields["id"] = user, event
        else:
            fields["userId"], fields["messageId"] = user, event
        if draw.random() < 0.2 and "text" in fields:
            fields["text"] = draw.choice(_TEXTS)
        return fields

    def _own_label(self) -> dict[str, Any]:
        self._count += 1
        return LABEL | {"user": f"u-{self._random.randrange(USERS)}", "id": f"l-{self._count}"}

    def _dump(self, fields: dict[str, Any]) -> bytes:
        draw = self._random
        if draw.random() < 0.9:
            return json.dumps(fields).encode()
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")

    # damage to fields

    def _damage_fields(self, fields: dict[str, Any]) -> None:
        draw = self._random
        name = draw.choice(list(fields)) if fields and draw.random() < 0.85 else draw.choice(_FIELDS)
        roll = draw.random()
        if roll < 0.12:
            fields.pop(name, None)
        elif roll < 0.35 and name in ("time", "timestamp", "sentAt"):
            fields[name] = draw.choice(_TIMES)
        elif roll < 0.40:
            fields[draw.choice((name + "x", name.upper(), "", "\ud800", "\u043a"))] = fields.get(name)
        elif roll < 0.45:
            fields[draw.choice(_FIELDS)] = fields.pop(name, None)
        elif roll < 0.52 and isinstance(fields.get(name), dict):
            inner = dict(fields[name])
            self._damage_fields(inner)
            fields[name] = inner
        else:
            fields[name] = self._value(0)

    def _value(self, depth: int) -> Any:
        draw = self._random
        roll = draw.random()
        if roll < 0.22:
            return draw.choice(_STRINGS)
        if roll < 0.27:
            return draw.choice(_SURROGATES)
        if roll < 0.32:
            return "".join(chr(draw.randrange(1, 0x3000)) for _ in range(draw.randrange(1, 30)))
        if roll < 0.52:
            return draw.choice(_NUMBERS)
        if roll < 0.60:
            return draw.choice(_TIMES)
        if roll < 0.70:
            return draw.choice((None, True, False))
        if roll < 0.73:
            return draw.choice("xé🙂") * draw.choice((600, 20_001, 70_000))
        if roll < 0.7305:
            return "x" * 1_100_000
        if roll < 0.80 or depth > 3:
            return draw.choice((*KINDS, *TRACK, "track", "page", *_FIELDS))
        if roll < 0.90:
            return [self._value(depth + 1) for _ in range(draw.randrange(4))]
        return {draw.choice(_FIELDS): self._value(depth + 1) for _ in range(draw.randrange(4))}

    # damage to bytes

    def damage_bytes(self, good: bytes) -> bytes:
        draw = self._random
        value = bytearray(good)
        for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
            at = draw.randrange(len(value) + 1)
            roll = draw.random()
            if roll < 0.30 and at < len(value):
                value[at] ^= draw.randrange(1, 256)
            elif roll < 0.50:
                value[at:at] = draw.choice(_PIECES)
            elif roll < 0.62:
                del value[at : at + draw.randrange(1, 9)]
            elif roll < 0.72:
                value[at:at] = value[at : at + draw.randrange(1, 60)]
            elif roll < 0.82 and self._last:
                other = draw.choice(self._last)
                cut = draw.randrange(len(other) + 1)
                value[at:] = other[cut:]
            elif roll < 0.90:
                del value[at:]
            elif roll < 0.95:
                value[at : at + 4] = draw.randbytes(4)
            else:
                value += draw.choice((b" ", b"\0", b"\n", b"}", bytes(value[:40])))
        return bytes(value)

    # records of the internal topics

    def graph(self) -> bytes | None:
        """A record of the graph topic, good or damaged."""
        draw = self._random
        user = f"u-{draw.randrange(USERS)}"
        roll = draw.random()
        if roll < 0.2:
            return self._internal(["gone", f"gone-{user}", GOOD_TIME, "e", 0, 0, False, ""])
        if roll < 0.6:
            return self._internal(["subscribe", user, draw.randrange(2), draw.random() < 0.7])
        return self._internal(["vectors", user, draw.randrange(1, 100), self._vector, self._vector])

    def example(self) -> bytes | None:
        """A record of the example topic, good or damaged."""
        draw = self._random
        vector = b"".join(draw.choice((b"\0\x3c", b"\0\xb4", b"\0\0")) for _ in range(FUSED))
        return self._internal(["taste", "taste-food", draw.random() < 0.5, 1.0, vector])

    def move(self) -> bytes | None:
        """A part of a merge on the reroute topic, good or damaged: mostly its block."""
        draw = self._random
        block = draw.choice(self._blocks)
        if draw.random() < 0.6:
            block = self.damage_bytes(block)
        texts, hops = [["e", GOOD_TIME, "x"]] * draw.randrange(2), [["u-1", "u-2", GOOD_TIME]] * draw.randrange(2)
        user, into = f"a-{draw.randrange(USERS)}", f"u-{draw.randrange(USERS)}"
        return self._internal(
            [
                "move-in",
                user,
                into,
                GOOD_TIME,
                "e",
                GOOD_TIME,
                block,
                b"",
                texts,
                hops,
                ["view|count|3600|"],
                ["a"],
                b"",
            ]
        )

    def head(self) -> bytes:
        """A value of the heads topic that is no good head: damaged, or of another shape."""
        draw = self._random
        if draw.random() < 0.6:
            return self.damage_bytes(self._head)
        fields = msgspec.msgpack.decode(self._head)
        fields[draw.choice(list(fields))] = self.packable()
        return msgspec.msgpack.encode(fields)

    def _internal(self, fields: list[Any]) -> bytes | None:
        draw = self._random
        roll = draw.random()
        if roll < 0.3:
            return msgspec.msgpack.encode(fields)
        if roll < 0.7:
            for _ in range(draw.choice((1, 1, 2))):
                place = draw.randrange(1, len(fields))
                fields[place] = self.packable()
            if draw.random() < 0.2:
                fields = fields[: draw.randrange(len(fields))]
            return msgspec.msgpack.encode(fields)
        if roll < 0.71:
            return None
        return self.damage_bytes(msgspec.msgpack.encode(fields))

    def packable(self) -> Any:
        """A value that msgpack can hold."""
        draw = self._random
        roll = draw.random()
        if roll < 0.35:
            return draw.choice((b"", b"x", b"\0" * (NODE_DIM * 2), b"\xff" * (NODE_DIM * 2), b"\0\x7c" * NODE_DIM,
                                b"\xff\x7b" * NODE_DIM, b"\xff\x7b" * FUSED, b"\0\x7e" * FUSED, b"\0" * 7,
                                b"\0" * 100_000))  # fmt: skip
        if roll < 0.6:
            return draw.choice((0, -1, 1, 2, 7, 2**31, 2**53, 2**63 - 1, 2**64 - 1, -(2**63), 1e308, 0.5,
                                float("nan"), float("inf"), -1e-9, 5e-324))  # fmt: skip
        if roll < 0.8:
            return draw.choice(("", "u-1", "é" * 513, "x" * 70_000, "taste", "taste-value", "none", "\0"))
        return draw.choice((None, True, False, [], {}, [1.0] * 10, ["taste-food"] * 3, {"accuracy": float("nan")}))
