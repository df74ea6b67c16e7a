"""Messages of merges that anybody may have written, through the steps of a partition: damaged ones, and sound ones of
states that nobody ever had. What is taken is then worked with: folded, merged again, handed over, erased."""

from __future__ import annotations

import random
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import msgspec

from state.format1 import pack_ids
from state.layout import encode_vectors
from state.plain.record import PlainRecord
from state.record import Opaque
from state.user import Membership, PendingLabel, PendingText
from state.vectors import Vectors
from state.windows import MOST
from streams.steps import merge, reroute
from tests.format1 import User, encode_user, tally_of
from tests.fuzz.mutate import Mutator
from tests.record_faults import FAULTS, GOLDEN
from tests.record_verbs import KEYS, SORTS, SPECS
from tests.small_partition import PLACE, T0, SmallPartition

REROUTE: Final = PLACE.topics.reroute
USERS: Final = tuple(f"u-{number}" for number in range(12))
DEFINITIONS: Final = """
[[segment]]
id = "keen"
rule = 'count("view", within="7d") >= 2'
[[segment]]
id = "spender"
rule = 'total("purchase", "amount", within="365d") / count("click", category="shoes", within="1h") > 3'
min_stay = "1h"
[[segment]]
id = "waits"
rule = 'absent("purchase", after="click", after_category="shoes", wait="1h", within="1d")'
[[segment]]
id = "warm"
learned = "taste"
"""
_NAMES: Final = ("", "a", "keen", "warm", "gone", "é" * 300, "x" * 512, "x" * 513, "y" * 60_000, "\0", "🙂", "u-1")
_WHOLE: Final = (0, 1, 2, 7, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53 - 1, 2**53, 2**63, 2**64 - 1)
_TIMES: Final = (5e-324, 1e-9, 1.0, T0, T0 + 0.5, T0 + 86_400.0, 2.0**31, 2.0**32 - 0.5, 2.0**32 - 2.0**-20)
_FLOATS: Final = (-1e308, -1.0, 0.0, 5e-324, 1.0, 1e15, 1e300, 1.7e308)


@dataclass
class MovesOutcome:
    """How many messages were taken and refused, by what they were."""

    records: int = 0
    taken: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def accounted(self) -> bool:
        return self.records == self.taken.total() + self.refused.total()


class Moves:
    """An endless, seeded stream of messages."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._mutator = Mutator(seed)
        self._kinds: tuple[tuple[str, Callable[[], bytes]], ...] = (
            ("sound", self._sound),
            ("strange", self._strange),
            ("fault", lambda: self._moved(self._random.choice(list(FAULTS.values())))),
            ("golden", lambda: self._moved(self._random.choice(list(GOLDEN.values())))),
            ("flipped", lambda: self._moved(self._flipped(self._block(strange=False)))),
            ("format 1", lambda: self._moved(self._old())),
            ("fields", self._fields),
            ("bytes", lambda: self._mutator.damage_bytes(self._sound())),
        )

    def next(self) -> tuple[str, bytes]:
        """What it is, and the message."""
        name, make = self._random.choice(self._kinds)
        return name, make()

    def _sound(self) -> bytes:
        return self._moved(self._block(strange=False))

    def _strange(self) -> bytes:
        return self._moved(self._block(strange=True))

    def _moved(self, block: bytes, **more: Any) -> bytes:
        draw = self._random
        user, into = draw.choice(USERS), draw.choice(USERS)
        entries = [(draw.choice(_WHOLE), draw.choice((0, int(T0), 2**32 - 1))) for _ in range(draw.choice((0, 3, 90)))]
        message = merge.MoveIn(
            user, into, T0 + draw.randrange(100), "e", T0, block, b"", [], [], list(draw.sample(("a", "b"), 1)), [],
            pack_ids(entries),
        )  # fmt: skip
        if draw.random() < 0.3:
            message = msgspec.structs.replace(
                message,
                texts=[PendingText("t", draw.choice(_TIMES), draw.choice(("", "cook", "é" * 9_000)))],
                vectors=encode_vectors(Vectors(text_time=draw.choice(_FLOATS))),
                aliases=[draw.choice(_NAMES) or "b"],
            )
        return merge._encode(msgspec.structs.replace(message, **more))

    def _fields(self) -> bytes:
        """Sound bytes of something else."""
        draw = self._random
        fields = msgspec.msgpack.decode(self._sound())
        for _ in range(draw.choice((1, 1, 2))):
            fields[draw.randrange(len(fields))] = self._mutator.packable()
        return msgspec.msgpack.encode(fields)

    def _flipped(self, block: bytes) -> bytes:
        draw, data = self._random, bytearray(block)
        for _ in range(draw.choice((1, 1, 2, 4))):
            at = draw.randrange(len(data))
            if draw.random() < 0.5:
                data[at] ^= 1 << draw.randrange(8)
            else:
                data[at : at + 8] = struct.pack("<d", draw.choice((*_FLOATS, *_TIMES, float("nan"), float("inf"))))
        return bytes(data)

    def _block(self, strange: bool) -> bytes:
        """Of somebody of whom all may be known; ``strange``: numbers that a fold never made, but a block may have."""
        draw = self._random
        record = PlainRecord("u", draw.choice((0, 1, 2**32 - 1)), draw.choice(_WHOLE))
        times = _TIMES if strange else _TIMES[3:6]
        record.enter(draw.choice(times))
        for _ in range(draw.randrange(6)):
            kind = draw.choice(("view", "click", "purchase", "comment"))
            for _ in range(draw.choice((1, 40)) if strange else 1):
                record.count_event(kind, draw.choice(("", "shoes")), record.time, 1e15 if strange else 3.0, 5.0)
        for act in draw.sample(self._acts(record, strange, times), draw.randrange(8)):
            act()
        record.texts_taken = min(record.texts_taken, record.texts_put)
        return record.pack()

    def _acts(self, record: PlainRecord, strange: bool, times: tuple[float, ...]) -> list[Callable[[], object]]:
        draw = self._random
        whole = partial(draw.choice, _WHOLE if strange else _WHOLE[:5])
        name = partial(draw.choice, _NAMES[1:] if strange else _NAMES[1:7])
        time = partial(draw.choice, times)

        def put(field: str, value: object) -> None:
            setattr(record, field, value)

        def half() -> int:
            return int(min(whole(), 2**32 - 1))

        def count() -> None:
            for each in draw.choices(times, k=5):
                record.cells.add(draw.choice(SPECS), each, MOST if strange else 2, max(each, record.time))

        def remember() -> None:
            for _ in some():
                record.ids.add(draw.randrange(2**64), draw.choice((0.0, T0)))

        def some() -> range:
            return range(draw.choice((1, 3, 400) if strange else (1, 3)))

        return [
            *(partial(put, each, whole()) for each in ("count", "sequence", "scored", "encode_at", "dirty")),
            *(partial(put, each, half()) for each in ("texts", "texts_put", "texts_taken", "version")),
            *(partial(put, each, draw.random() < 0.5) for each in ("identified", "queued")),
            *(partial(put, each, time()) for each in ("first", "due", "known_at", "erased")),
            lambda: put("labels", [PendingLabel(name()[:600], True, draw.choice(_FLOATS)) for _ in some()]),
            lambda: put("aliases", [name() for _ in some()]),
            lambda: [record.edges.set(f"{at}{name()}", time(), draw.random() < 0.7) for at in some()],
            lambda: [record.groups.set(f"{at}{name()}", time(), draw.random() < 0.7) for at in some()],
            lambda: record.members.put(
                name(), Membership(time(), draw.choice(_FLOATS), whole(), whole(), draw.choice((None, 0.5)))
            ),
            count,
            lambda: record.cells.note(draw.choice(SORTS), time()),
            lambda: record.cells.mark_unknown(draw.choice(SPECS).key, time()),
            lambda: record.cells.put_opaque(draw.choice(KEYS), Opaque(whole() % 2**16, b"abc", time(), 0.0)),
            remember,
        ]

    def _old(self) -> bytes:
        draw = self._random
        user = User(
            time=draw.choice((*_TIMES, *_FLOATS)),
            first=draw.choice(_TIMES),
            count=draw.choice((*_WHOLE, -1)),
            tallies={
                draw.choice(("view|count|604800|", "x", "view|count|0|", "a|b|c|d")): tally_of({int(T0) // 3_600: 3})
            },
            decayed={"view": [draw.choice((*_TIMES, *_FLOATS)), draw.choice(_FLOATS), draw.choice(_FLOATS)]},
            categories={draw.choice((0, 63, 64, -1)): [T0, draw.choice(_FLOATS)]},
            edges={draw.choice(_NAMES): draw.choice((*_TIMES, *_FLOATS))},
            labels=[PendingLabel(draw.choice(_NAMES), True, draw.choice((*_FLOATS, float("nan"))))],
            last={draw.choice(("view|", "view", "@")): draw.choice((*_TIMES, *_FLOATS))},
            texts=draw.choice((*_WHOLE, -1)),
            aliases=[draw.choice(_NAMES)],
        )
        block = encode_user(user if draw.random() < 0.7 else User(time=T0, count=3))
        return self._mutator.damage_bytes(block) if draw.random() < 0.4 else block


def fuzz_moves(seed: int, records: int, batch: int = 40) -> MovesOutcome:
    """Messages in batches; in between whoever they made is worked with. Raises what a worker would have met."""
    moves, found, draw = Moves(seed), MovesOutcome(), random.Random(seed)
    partition = SmallPartition(DEFINITIONS)
    header: list[tuple[str, bytes | None]] = [(reroute.KIND, reroute.MERGE)]
    for round_ in range(records // batch):
        names, values = zip(*(moves.next() for _ in range(batch)), strict=True)
        sent = [partition._record(value) for value in values]
        for record in sent:
            record.headers = header
        effects = partition.take(REROUTE, list(sent))
        bad = {reject.record.offset for reject in effects.rejects}
        found.records += batch
        found.refused.update(name for name, record in zip(names, sent, strict=True) if record.offset in bad)
        found.taken.update(name for name, record in zip(names, sent, strict=True) if record.offset not in bad)
        _work(partition, draw, round_)
    return found


def _work(partition: SmallPartition, draw: random.Random, round_: int) -> None:
    now = draw.choice((T0 + round_, T0 + 86_400.0 * round_, 2.0**32 - 100.0))
    if draw.random() < 0.3:
        partition.restart()
    partition.events(
        *({"user": user, "kind": "view", "time": min(now, T0 + 1e8)} for user in USERS),
        {"user": draw.choice(USERS), "kind": "follow", "target": draw.choice(USERS), "time": T0 + round_},
        {"user": draw.choice(USERS), "kind": "purchase", "amount": 12.0, "category": "shoes", "time": T0 + round_},
    )
    partition.fire(now)
    partition.batch(labels=({"segment": "warm", "member": True, "time": T0 + round_, "user": draw.choice(USERS)},))
    if draw.random() < 0.3:
        partition.sweep()
    for target in draw.sample(USERS, 2):
        record = partition._record(
            merge._encode(merge.MoveOut(target, draw.choice(USERS), T0 + 1_000 + round_, "m", T0))
        )
        record.headers = [(reroute.KIND, reroute.MERGE)]
        effects = partition.take(REROUTE, [record])
        for message in effects.messages:
            if message.topic == REROUTE:
                again = partition._record(message.value)
                again.headers = [(name, value) for name, value in message.headers]  # type: ignore[misc]
                partition.take(REROUTE, [again])
    if draw.random() < 0.2:
        partition.events({"user": draw.choice(USERS), "kind": "delete", "time": min(now, T0 + 1e8)})
