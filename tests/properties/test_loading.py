"""What is said last of each key, and what of it goes into a store with which timers: compiled, and by the twins."""

from __future__ import annotations

import math
import struct
import sys
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


@example({b"ua": 88350097857925.0})  # milliseconds beyond what a float counts exactly
@given(st.dictionaries(st.binary(max_size=4).map(lambda name: b"u" + name), DUES, max_size=5))
def test_users_come_with_their_timers(dues: dict[bytes, float]) -> None:
    records: dict[bytes, bytes | None] = {key: user(due) for key, due in dues.items()}
    expected = dict(records)
    expected |= {layout.timer_key(due, key[1:]): b"" for key, due in dues.items() if due != NEVER}

    def loaded() -> Noted:
        noted = Noted()
        assert loading.load(noted, records) == 0
        return noted

    assert by_both(loaded) == expected


def test_guards_are_counted_and_what_is_deleted_has_no_timer() -> None:
    records = {b"e1": b"\x01", b"e2": None, b"ua": None, b"p": b"", b"": b"x"}

    def loaded() -> tuple[int, Noted]:
        noted = Noted()
        return loading.load(noted, records), noted

    assert by_both(loaded) == (1, records)


@pytest.mark.parametrize("value", [b"", b"\x01", user(1.0)[:8]])
def test_what_is_too_short_for_a_user_is_told(value: bytes) -> None:
    def load() -> str:
        with pytest.raises(ValueError, match="too short") as caught:
            loading.load(Noted(), {b"ua": value})
        return str(caught.value)

    by_both(load)


def test_a_batch_that_takes_nothing_is_told() -> None:
    class Full(Noted):
        def __setitem__(self, key: bytes, value: bytes | None) -> None:
            raise OSError("full")

    for records in ({b"p": b"x"}, {b"ua": user(5.0)}, {b"ua": None}):
        with pytest.raises(OSError, match="full"):
            loading.load(Full(), records)


@compiled
def test_only_what_parse_gives_is_looked_through() -> None:
    for wrong in ((), "records"):
        with pytest.raises(TypeError):
            loading.latest(wrong)  # type: ignore[arg-type]  # that is the point
    with pytest.raises(TypeError):
        loading.load(Noted(), {"ua": b""})  # type: ignore[dict-item]  # that is the point


@compiled
def test_no_reference_is_kept() -> None:
    data = batch([(at, 1, b"u%d" % (at % 30), user(float(at)), []) for at in range(100)], codec=3)

    def load() -> int:
        for _ in range(50):
            loading.load(Noted(), loading.latest(partition(data).drain()))
            with pytest.raises(ValueError, match="too short"):
                loading.load(Noted(), {b"ua": b""})
        return sys.getallocatedblocks()

    load()
    assert load() - load() < 500
    before = load()
    assert max(load() for _ in range(4)) - before < 500


def test_no_time_is_the_latest_time() -> None:
    assert layout.timer_parts(layout.timer_key(math.nan, b"u")) == layout.timer_parts(layout.timer_key(1e300, b"u"))
