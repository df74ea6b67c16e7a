"""The compiled part reads events as Python does, to the bit, whatever the bytes; and it knows what it does not know."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import msgspec
import pytest
import xxhash
from hypothesis import example, given
from hypothesis import strategies as st

from state import compiled
from state.compiled import OFF, CompiledError
from state.native import Items, QuietFold, quiet_fold
from state.plan_image import Described
from state.user import PLAIN_KINDS
from streams.steps.segments import CALLS
from streams.wire.decode import Limits, decode_event, decode_unchecked
from streams.wire.events import KINDS, Event
from streams.wire.refused import RefusedError
from tests.small_partition import T0, Sent

pytestmark = pytest.mark.compiled

Item = tuple[Event, int, Any, float]
LIMITS = Limits()
#: definitions that ask for nothing: reading is the same whatever they ask for
NOTHING = Described(routes=(), rules=(), stays={}, may_rise=False)
ARRIVED = int(T0 * 1_000) + 123
USUAL = b'{"user":"u","kind":"view","time":1699920000.5,"id":"e1","category":"c1","dwell":0.1}'

FIELDS = ["user", "kind", "time", "id", "item", "category", "amount", "dwell", "text", "target", "group", "source"]
SPACE = st.sampled_from([b""] * 12 + [b" ", b"\n", b"\t\r ", b"\x0b"])
TEXTS = st.sampled_from(["", "u", "用户", "a" * 40, "🙂", "é"]) | st.text(max_size=12)


def written(text: str, escaped: bool) -> bytes:
    if escaped:
        units = memoryview(text.encode("utf-16-le", "surrogatepass")).cast("H") if text else []
        return b'"%b"' % "".join(f"\\u{unit:04x}" for unit in units).encode()
    return b'"%b"' % text.encode("utf-8", "surrogatepass").replace(b"\\", b"\\\\").replace(b'"', b'\\"')


STRINGS = st.builds(written, TEXTS, st.integers(0, 9).map(lambda dice: dice == 0)) | st.sampled_from(
    [
        b'"\xff"',
        b'"\xc0\x80"',
        b'"\xed\xa0\x80"',
        b'"\xf4\x90\x80\x80"',
        b'"a\x00"',
        b'"\x1f"',
        b'"\x7f"',
        b'"\\"',
        b'"\xe2\x82"',
    ]
)
DIGITS = st.text("0123456789", min_size=1, max_size=21)
# fmt: off
ODD_NUMBERS = (
    "0", "-0", "-0.0", "0.0", "1e5", "1E+2", "1e-3", "0e0", "00", "01", "1.", ".5", "+1", "-1", "1e", "0x1", "NaN",
    "1e400", "1e-400", "9007199254740993", "9007199254740992", "18446744073709551616", "1e22", "1e23", "true", "0.1e-5",
    "8.5e-22", "123456789012345.6789",
)
# fmt: on
NUMBERS = (
    st.sampled_from(ODD_NUMBERS)
    | st.floats(0, 1e9).map(repr)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.builds("{}.{}".format, DIGITS, DIGITS)
    | st.builds("{}.{}e{}".format, DIGITS, DIGITS, st.integers(-30, 30))
    | DIGITS
).map(str.encode)
TIMES = st.floats(T0 - 1e6, T0 + 500).map(lambda time: repr(time).encode()) | st.sampled_from(
    [
        b"1699920000",
        b"1699920000.123456789",
        b"1699920000.1234567",
        b"1.69992e9",
        b"1699920000123",
        b"9e8",
        b"17e8",
        b"1.7e9",
    ]
)
PLAIN = st.sampled_from([written(kind, False) for kind in sorted(PLAIN_KINDS)])
OTHERS = st.sampled_from([written(kind, False) for kind in KINDS] + [b'"View"', b'"vie\\u0077"', b'"view "', b'""'])
ANYTHING = (
    STRINGS | NUMBERS | st.sampled_from([b"null", b"true", b"false", b"[]", b"{}", b'{"a":[1,"x"]}', b"nul", b""])
)


@st.composite
def records(draw: st.DrawFn) -> bytes:
    """An object with our fields, mostly as they should be: now and then one twice, missing, or of a wrong type."""
    names = ["user", "kind", "time", *draw(st.lists(st.sampled_from(FIELDS), max_size=5, unique=draw(st.booleans())))]
    if not draw(st.integers(0, 9)):
        names = draw(st.permutations(names))[1:]
    parts = []
    for name in dict.fromkeys(names) if draw(st.integers(0, 9)) else names:
        value = {
            "kind": PLAIN | OTHERS if draw(st.booleans()) else PLAIN,
            "time": TIMES,
            "amount": NUMBERS,
            "dwell": NUMBERS,
            "text": st.just(b'""'),
            "source": ANYTHING,
        }.get(name, STRINGS)
        if not draw(st.integers(0, 14)):
            value = ANYTHING
        key = written(name, not draw(st.integers(0, 30)))
        parts.append(b"".join((draw(SPACE), key, draw(SPACE), b":", draw(SPACE), draw(value), draw(SPACE))))
    return draw(SPACE) + b"{" + b",".join(parts) + b"}" + draw(SPACE)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    record = bytearray(draw(st.just(USUAL) | records()))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(record)))
        what = draw(st.sampled_from(["cut", "put", "drop"]))
        if what == "cut":
            del record[at:]
        elif what == "drop":
            del record[at : at + 1]
        else:
            record[at:at] = draw(st.sampled_from([b'"', b"\\", b",", b"}", b"{", b"\x80", b"\x00", b"0", b":", b"e"]))
    return bytes(record)


def taken(record: Any) -> Item | None:
    """What the fold does with what the compiled part does not read."""
    value, arrived = record.value, record.timestamp / 1000.0
    try:
        event = decode_event(value, arrived, LIMITS)
    except RefusedError:
        return None
    return event, xxhash.xxh3_64_intdigest(event.id.encode() if event.id else value or b""), record, arrived


def by_python(sent: Sequence[Sent]) -> dict[str, list[Item]]:
    found: dict[str, list[Item]] = {}
    for item in filter(None, map(taken, sent)):
        found.setdefault(item[0].user, []).append(item)
    return found


def quiet() -> QuietFold:
    found = quiet_fold(Event, CALLS, NOTHING)
    assert found is not None
    return found


def read(sent: Sequence[Any]) -> tuple[Mapping[str, Items[Item]], float, list[Any]]:
    """Events by user, the latest time, and the records that were looked at by Python."""
    asked: list[Any] = []

    def slow(record: Any) -> Item | None:
        asked.append(record)
        return taken(record)

    found, latest = quiet().read(sent, decode_unchecked, slow, LIMITS.usual)
    return found, latest, asked


def bits(*numbers: float) -> bytes:
    return struct.pack(f"{len(numbers)}d", *numbers)


def check(values: list[bytes | None]) -> None:
    sent = [Sent(number, value, ARRIVED + number) for number, value in enumerate(values)]
    found, latest, asked = read(sent)
    wanted = by_python(sent)
    assert list(found) == list(wanted)
    quick = 0.0
    for user, items in found.items():
        assert len(items) == len(wanted[user])
        for number, (event, id_hash, record, arrived) in enumerate(wanted[user]):
            its, its_hash, its_record, its_arrived = items[number]
            assert its == event
            assert bits(its.time, its.amount, its.dwell) == bits(event.time, event.amount, event.dwell)
            assert (its_hash, its_record, its_arrived) == (id_hash, record, arrived)
            plain = items.plain(number)
            if event.kind not in PLAIN_KINDS:
                assert plain is None
                continue
            assert plain is not None
            assert plain[:2] == (event.kind, event.category)
            assert bits(*plain[2:]) == bits(event.time, event.amount, event.dwell)
            assert bits(items.time(number)) == bits(event.time)
            if record not in asked:
                quick = max(quick, event.time)
    assert latest == quick


@given(st.lists(records(), min_size=1, max_size=12))
def test_any_event_is_read_as_python_reads_it(values: list[bytes]) -> None:
    check([*values])


@given(st.lists(damaged() | st.binary(max_size=40) | st.none(), min_size=1, max_size=12))
@example(
    [b"", b"{", b"{}", b'{"user', b'{"user"', b'{"user":', b'{"user":"', b'{"user":"u","time":1', b"{,}", USUAL[:-1]]
)
@example([USUAL + b" ", USUAL + b"x", b"\xef\xbb\xbf" + USUAL, USUAL + USUAL, None])
def test_damaged_bytes_are_read_as_python_reads_them(values: list[bytes | None]) -> None:
    check(values)


@given(st.lists(NUMBERS | st.floats(0, 1e9).map(lambda number: repr(number).encode()), min_size=1, max_size=30))
def test_every_number_is_the_same_to_the_bit(numbers: list[bytes]) -> None:
    check([b'{"user":"u","kind":"view","time":1.69e9,"amount":%b,"dwell":%b}' % (each, each) for each in numbers])


@given(st.lists(st.floats(T0 - 1e8, T0 + 100), min_size=1, max_size=30))
def test_a_clocks_own_digits_are_read_without_python(times: list[float]) -> None:
    """``repr(time.time())`` has up to 17 digits, more than a double holds as a whole number."""
    values = [b'{"user":"u","kind":"click","time":%b}' % repr(time).encode() for time in times]
    _, _, asked = read([Sent(number, value, ARRIVED) for number, value in enumerate(values)])
    assert asked == []
    check([*values])


def test_what_we_write_ourselves_is_read_without_python() -> None:
    for event in (
        Event("u", "view", T0),
        Event("用户", "click", T0 + 0.125, "schön", item="🙂", category="用", dwell=1e-7),
        Event("u", "purchase", T0, amount=19.99, group="g", target="t"),
    ):
        found, latest, asked = read([Sent(0, msgspec.json.encode(event), ARRIVED)])
        assert asked == []
        assert latest == event.time
        assert [item[0] for items in found.values() for item in items] == [event]


def test_fields_that_we_do_not_know_cost_nothing() -> None:
    for value in (b'"x"', b"12.5", b"true", b"false", b"null", b"-1", b"[]", b"{}", b'[{"a":[1,{}]},"\\u00e9"]'):
        assert read([Sent(0, USUAL[:-1] + b',"source":' + value + b"}", ARRIVED)])[2] == []
    for value in (b"nulL", b"[1,]", b'{"a":}', b'"\\ud800"', b"[" * 65 + b"]" * 65):
        assert len(read([Sent(0, USUAL[:-1] + b',"source":' + value + b"}", ARRIVED)])[2]) == 1


def test_events_of_a_user_come_in_order_of_arrival_whoever_read_them() -> None:
    iso = b'{"user":"u","kind":"view","time":"2023-11-14T00:00:00Z"}'
    segment = b'{"type":"track","event":"Product Viewed","userId":"u","timestamp":"2023-11-14T00:00:00Z"}'
    values = [
        USUAL,
        iso,
        b"broken",
        USUAL,
        segment,
        b'{"user":"v","kind":"follow","time":1.69e9,"target":"u"}',
        USUAL,
        iso,
    ]
    sent = [Sent(number, value, ARRIVED) for number, value in enumerate(values)]
    found, _, asked = read(sent)
    assert [record.offset for record in asked] == [2, 5]
    assert [(user, [item[2].offset for item in items]) for user, items in found.items()] == [
        ("u", [0, 1, 3, 4, 6, 7]),
        ("v", [5]),
    ]
    assert found["u"].plain(1) == ("view", "", T0, 0.0, 0.0)
    check([*values])


def test_a_users_events_are_a_sequence() -> None:
    found, _, _ = read([Sent(number, USUAL, ARRIVED + number) for number in range(5)])
    items = found["u"]
    whole = [*items]
    assert [item[2].offset for item in whole] == [0, 1, 2, 3, 4]
    assert [*items[1:3]] == whole[1:3]
    assert [*items[2:][1:]] == whole[3:]
    assert items[-1] == whole[-1]
    assert len(items[4:2]) == 0
    for wrong in (5, -6):
        with pytest.raises(IndexError):
            items[wrong]
    for at in (5, -1):
        with pytest.raises(IndexError):
            items.time(at)
    with pytest.raises(ValueError, match="one piece"):
        items[::2]


def test_an_error_of_the_slow_way_is_handed_on() -> None:
    def broken(_record: Any) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        quiet().read([Sent(0, USUAL, ARRIVED), Sent(1, b"broken", ARRIVED)], decode_unchecked, broken, LIMITS.usual)
    with pytest.raises(TypeError):
        quiet().read([Sent(0, b"broken", ARRIVED)], decode_unchecked, lambda _record: (1, 2), LIMITS.usual)


def test_many_users_and_categories_find_their_own_events() -> None:
    values = [
        b'{"user":"u%d","kind":"view","time":1.69e9,"category":"c%d"}' % (number * 7 % 3_001, number % 1_777)
        for number in range(10_000)
    ]
    check([*values])


def test_a_field_that_the_reader_does_not_know_is_told_and_not_passed_over() -> None:
    names = [field.name for field in msgspec.structs.fields(Event)]
    wider = msgspec.defstruct("Wider", [(name, Any, None) for name in (*names, "shop")], frozen=True)
    with pytest.raises(CompiledError, match=r"other fields of an event than .*shop"):
        quiet_fold(wider, CALLS, NOTHING)
    assert quiet_fold(Event, CALLS, NOTHING) is not None


def test_a_module_that_is_there_but_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    package = tmp_path / "state"
    package.mkdir()
    for name in ("__init__.py", "compiled.py", "layout2.py"):
        shutil.copy(Path(compiled.__file__).with_name(name), package)
    (package / f"_fold{EXTENSION_SUFFIXES[0]}").write_bytes(b"not a library")
    without = {key: value for key, value in os.environ.items() if key not in (OFF, "PYTHONPATH")}
    found = subprocess.run(
        [sys.executable, "-c", "import state.compiled"], cwd=tmp_path, env=without, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert found.returncode != 0
    assert "state._fold is there but cannot be used" in found.stderr.splitlines()[-1]


def test_nothing_is_compiled_when_that_is_switched_off() -> None:
    look = (
        "from state import tables; from state.compiled import COMPILED; "
        "print(COMPILED, tables.new_arena.__module__, tables.open_record.__module__)"
    )
    found = subprocess.run(
        [sys.executable, "-c", look],
        env={**os.environ, "SEGMENTS_PURE_PYTHON": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.split() == ["None", "state.plain.table", "state.plain.record"]
