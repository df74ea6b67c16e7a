"""The compiled core and its Python twin: one layout, the same bits, the same bytes after any verbs, one opinion."""

from __future__ import annotations

import math
import random
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from state import layout2, powers
from state.layout import FormatError
from state.plain.record import PlainRecord, unpack
from state.record import Opaque
from tests.core_parts import CORE
from tests.core_record import CoreRecord
from tests.record_faults import FAULTS, SOUND
from tests.record_verbs import KEYS, SORTS, SPECS, VERBS, Verb, counts_alike
from tests.records import golden_blocks, told

pytestmark = pytest.mark.compiled
BLOCKS = [*(block for name, block in golden_blocks().items() if name != "ids-record"), *SOUND.values()]
SMALL = [block for block in BLOCKS if len(block) < 4_096]
#: bytes that numbers, sizes and flags turn on
ODD = [struct.pack("<Q", value) for value in (0, 1, 7, 8, 127, 128, 255, 0xFFFF, 2**31, 2**32, 2**63, 2**64 - 1)]
ODD += [struct.pack("<d", value) for value in (-0.0, 0.5, -1.0, 2.0**32, 2.0**120, math.inf, -math.inf, math.nan)]


def bits(value: float) -> bytes:
    return struct.pack("<d", value)


def test_both_have_the_same_layout() -> None:
    assert CORE.layout_abi() == layout2.abi()


@given(st.floats() | st.floats(-60.0, 31.0))
@example(math.nan)
@example(powers.LEAST)
@example(math.nextafter(powers.LEAST, -math.inf))
@example(powers.MOST)
@example(math.nextafter(powers.MOST, -math.inf))
@example(-0.0)
def test_powers_of_two_are_the_same_to_the_bit(x: float) -> None:
    assert bits(CORE.power_of_two(x)) == bits(powers.power_of_two(x))


def test_powers_of_two_are_the_same_at_every_place_of_the_table() -> None:
    draw = random.Random(21)
    for place in range(-70_000, 66_000, 7):
        for x in (place / 64, (place + 0.5) / 64, math.nextafter((place + 0.5) / 64, -math.inf), draw.uniform(-64, 32)):
            assert bits(CORE.power_of_two(x)) == bits(powers.power_of_two(x)), x.hex()


@given(st.lists(VERBS, max_size=40))
def test_the_same_verbs_give_the_same_bytes_and_answers(verbs: list[Verb]) -> None:
    plain, core = PlainRecord("u", 3, 4), CoreRecord("u", 3, 4)
    for verb in verbs:
        assert verb(plain) == verb(core)
    assert core.pack() == plain.pack()
    assert told(core, SPECS, SORTS, KEYS) == told(plain, SPECS, SORTS, KEYS)
    assert (core.ids.unsaved, core.ids.cut) == (plain.ids.unsaved, plain.ids.cut)


def test_what_is_counted_in_ten_thousand_events_is_the_same_to_the_bit() -> None:
    counts_alike(PlainRecord("u"), CoreRecord("u"))


def is_taken_by_the_twin(block: bytes) -> bool:
    try:
        unpack("u", block)
    except FormatError:
        return False
    return True


def is_taken(block: bytes) -> bool:
    return bool(CORE.block_check(block, len(block)) == 0)


@pytest.mark.parametrize("name", [*FAULTS, *SOUND])
def test_every_fault_is_one_for_both(name: str) -> None:
    block = FAULTS.get(name) or SOUND[name]
    assert is_taken(block) == is_taken_by_the_twin(block) == (name in SOUND)


def test_what_one_takes_the_other_takes() -> None:
    """Of 20,000 damaged blocks: bits, numbers, pieces of others, and ends."""
    draw, taken = random.Random(23), 0
    for _ in range(20_000):
        block = bytearray(draw.choice(SMALL))
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(block))
            match draw.randrange(4):
                case 0:
                    block[at] ^= 1 << draw.randrange(8)
                case 1:
                    at &= ~7
                    block[at : at + 8] = draw.choice(ODD)
                case 2:
                    width = draw.choice([1, 2, 4])
                    block[at : at + width] = draw.choice(ODD)[:width]
                case _:
                    other = draw.choice(SMALL)
                    at, size = at & ~7, 8 * draw.randint(1, 6)
                    block[at : at + size] = other[at : at + size]
        data = bytes(block)
        found = is_taken(data)
        assert found == is_taken_by_the_twin(data), data.hex()
        taken += found
        if found:
            assert CoreRecord("u", data=data).pack() == unpack("u", data).pack() == data
    assert 1_000 < taken < 19_000


@pytest.mark.parametrize(("months", "fast_is_left"), [(16, True), (17, False)])
def test_what_is_below_2_to_the_minus_500_is_nothing_after_a_month_s_change(months: int, fast_is_left: bool) -> None:
    month = 2_592_000.0
    for record in (plain := PlainRecord("u"), core := CoreRecord("u")):
        record.enter(600 * month)
        record.count_event("view", "shoes", 600 * month, 0.0, 0.0)
        record.enter((600 + months) * month)  # a fast sum of 1 loses 2^30 by each
    fast, slow = struct.unpack_from("<2d", core.pack(), layout2.HEADER.size + 8)
    assert (fast > 0.0, slow) == (fast_is_left, 2.0**-months)
    assert core.pack() == plain.pack()


def test_the_flag_of_opaque_cells_goes_with_the_last_of_them() -> None:
    record = CoreRecord("u")
    for key in KEYS:
        record.cells.put_opaque(key, Opaque(1, b"x", 5.0))
    record.cells.note(SORTS[0], 5.0)
    flags = [record.flags]
    for key in KEYS:
        record.cells.drop(key)
        flags.append(record.flags)
        assert is_taken(record.pack())
    assert flags == [layout2.HAS_OPAQUE, layout2.HAS_OPAQUE, 0]
