"""What is said last of each key, and what of it goes into a store with which timers: compiled, and by the twins."""

from __future__ import annotations

import math
import random
import struct
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from state import layout, loading
from state.windows import NEVER
from tests.properties.test_fetched import Sent, batch, compiled, partition

KEYS = st.none() | st.sampled_from([b"", b"u", b"ua", b"ub", b"e1", b"e2", b"p", b"t1"])
DUES = st.floats(allow_nan=True) | st.floats(0.0, 1e11) | st.just(NEVER)


def user(due: float) -> bytes:
    return b"\x01" + struct.pack(">d", due) + b"the rest"


class Noted(dict[bytes, "bytes | None"]):
    """Stands for RocksDB's batch: what is written last of a key counts; None where it is deleted."""

    def __delitem__(self, key: bytes) -> None:
        self[key] = None


def by_both(act: Any) -> Any:
    """The same outcome, by the compiled part and by the twin."""
    found = act()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("state.loading.COMPILED", None)
        assert act() == found
    return found


@settings(deadline=None)
@given(st.lists(st.tuples(KEYS, st.none() | st.binary(max_size=12)), max_size=12), st.integers(0, 4))
def test_what_is_said_last_of_a_key_counts(said: list[tuple[bytes | None, bytes | None]], codec: int) -> None:
    sent: list[Sent] = [(at, 1, key, value, []) for at, (key, value) in enumerate(said)]
    expected: dict[bytes, bytes | None] = {}
    for key, value in said:
        expected[key or b""] = value
    data = batch(sent, 0, codec if sent else 0)
    assert by_both(lambda: loading.latest(partition(data).drain())) == expected
    if len(sent) > 2:  # a part of what was fetched
        assert by_both(lambda: loading.latest(partition(data).drain()[:1])) == {said[0][0] or b"": said[0][1]}


def sent(said: Sequence[tuple[bytes | None, bytes | None]], codec: int = 0) -> Any:
    """The records, as a fetch gives them."""
    return partition(batch([(at, 1, key, value, []) for at, (key, value) in enumerate(said)], 0, codec)).drain()


def loaded(said: Sequence[tuple[bytes | None, bytes | None]], prefix: bytes = b"") -> tuple[int, list[Any]]:
    """(guards, what was put in its order), by both."""

    def load() -> tuple[int, list[Any]]:
        noted = Noted()
        return loading.load(noted, sent(said), prefix), list(noted.items())

    found: tuple[int, list[Any]] = by_both(load)
    return found


def in_order(records: Mapping[bytes, bytes | None]) -> list[Any]:
    return sorted(records.items(), key=lambda item: item[0])


@example({b"ua": 88350097857925.0})  # milliseconds beyond what a float counts exactly
@example({b"ua": 0.0, b"ua\0": 0.0, b"uaaaaaaaaaaaaaaaaa": 0.0, b"uaaaaaaaaaaaaaaaaab": 0.0, b"uaaaaaaaaaaaaaaaa": 0.0})
@given(st.dictionaries(st.binary(max_size=4).map(lambda name: b"u" + name), DUES, max_size=5))
def test_users_come_with_their_timers_which_are_first_and_in_order(dues: dict[bytes, float]) -> None:
    records: dict[bytes, bytes | None] = {key: user(due) for key, due in dues.items()}
    timers: dict[bytes, bytes | None] = {
        layout.timer_key(due, key[1:]): b"" for key, due in dues.items() if due != NEVER
    }
    assert loaded([*records.items()]) == (0, in_order(timers) + in_order(records))


@settings(deadline=None)
@given(st.lists(st.tuples(KEYS | st.binary(max_size=20), st.none() | st.binary(min_size=9, max_size=12)), max_size=20))
def test_what_is_said_last_of_each_key_is_put_in_the_order_of_the_keys(
    said: list[tuple[bytes | None, bytes | None]],
) -> None:
    last = {key or b"": value for key, value in said}
    guards, put = loaded(said)
    timers = [key for key, value in put if len(put) and value == b"" and key not in last]
    assert [item for item in put if item[0] not in timers] == in_order(last)
    assert guards == sum((key or b"")[:1] == b"e" and value is not None for key, value in said)
    prefixed = {b"m" + key: value for key, value in last.items()}
    assert loaded(said, b"m") == (0, in_order(prefixed))


def test_many_records_are_put_in_order_as_few_are() -> None:
    names = random.Random(5)
    said: list[tuple[bytes | None, bytes | None]] = [
        (b"uuser-%06d" % names.randrange(4_000), user(float(names.randrange(50)))) for _ in range(9_000)
    ]
    last: dict[bytes, bytes | None] = {key or b"": value for key, value in said}
    timers = sorted(layout.timer_key(layout.due_of(value or b""), key[1:]) for key, value in last.items())
    data = b"".join(
        batch([(at, 1, key, value, []) for at, (key, value) in enumerate(said[start : start + 3_000])], start, 3)
        for start in range(0, 9_000, 3_000)
    )

    def load() -> list[Any]:
        noted = Noted()
        assert loading.load(noted, partition(data).drain()) == 0
        return list(noted.items())

    assert load() == [(key, b"") for key in timers] + in_order(last)


def test_guards_are_counted_and_what_is_deleted_has_no_timer() -> None:
    records = {b"e1": b"\x01", b"e2": None, b"ua": None, b"p": b"", b"": b"x"}
    assert loaded([*records.items()]) == (1, in_order(records))
    assert loaded([(b"e1", b""), (b"e1", None)]) == (1, [(b"e1", None)])  # the erased may be in the store all the same


@pytest.mark.parametrize("value", [b"", b"\x01", user(1.0)[:8]])
def test_what_is_too_short_for_a_user_is_told_before_anything_is_put(value: bytes) -> None:
    def load() -> tuple[str, Noted]:
        noted = Noted()
        with pytest.raises(ValueError, match="too short") as caught:
            loading.load(noted, sent([(b"p", b""), (b"ua", value), (b"ub", user(1.0))]))
        return str(caught.value), noted

    with pytest.MonkeyPatch.context() as patch:
        compiled_says = load()
        patch.setattr("state.loading.COMPILED", None)
        assert load() == compiled_says
    assert not compiled_says[1]
    assert loaded([(b"ua", value), (b"ua", None)]) == (0, [(b"ua", None)])  # nobody needs it any more


def test_a_batch_that_takes_nothing_is_told() -> None:
    class Full(Noted):
        def __setitem__(self, key: bytes, value: bytes | None) -> None:
            raise OSError("full")

    for record in ((b"p", b"x"), (b"ua", user(5.0)), (b"ua", None)):
        with pytest.raises(OSError, match="full"):
            loading.load(Full(), sent([record]))


@compiled
def test_only_what_parse_gives_is_looked_through() -> None:
    for wrong in ((), "records"):
        with pytest.raises(TypeError):
            loading.latest(wrong)  # type: ignore[arg-type]  # that is the point
        with pytest.raises(TypeError):
            loading.load(Noted(), wrong)  # type: ignore[arg-type]  # that is the point


@compiled
def test_no_reference_is_kept() -> None:
    data = batch([(at, 1, b"u%d" % (at % 30), user(float(at)), []) for at in range(100)], codec=3)
    wrong = batch([(0, 1, b"ua", b"", [])])

    def load() -> int:
        for _ in range(50):
            loading.latest(partition(data).drain())
            loading.load(Noted(), partition(data).drain())
            with pytest.raises(ValueError, match="too short"):
                loading.load(Noted(), partition(wrong).drain())
        return sys.getallocatedblocks()

    load()
    assert load() - load() < 500
    before = load()
    assert max(load() for _ in range(4)) - before < 500


def test_no_time_is_the_latest_time() -> None:
    assert layout.timer_parts(layout.timer_key(math.nan, b"u")) == layout.timer_parts(layout.timer_key(1e300, b"u"))
