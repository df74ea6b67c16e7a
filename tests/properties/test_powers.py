"""2^x by additions, multiplications and a table: against the exact value, the C library's, and itself."""

from __future__ import annotations

import math
import struct
from decimal import Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import powers
from state.powers import power_of_two

#: what counters ask for: from long ago to the end of the month of a landmark
USUAL = st.floats(-60.0, 31.0)
ANY = st.floats(powers.LEAST, powers.MOST, exclude_max=True)


def exact(x: float) -> Decimal:
    with localcontext() as context:
        context.prec = 60
        return (Decimal(x) * Decimal(2).ln()).exp()


def units_off(x: float) -> float:
    """How far the result is from the exact value, in units of its last place."""
    found = power_of_two(x)
    with localcontext() as context:
        context.prec = 60
        return float(abs(Decimal(found) - exact(x)) / Decimal(math.ulp(found)))


def halves() -> list[float]:
    """Where one place of the table ends and the next begins: the polynomial is least exact there."""
    return [(n + 0.5) / 64 for n in range(-64 * 4, 64 * 2)]


def test_table_and_coefficients_are_the_nearest_numbers() -> None:
    with localcontext() as context:
        context.prec = 60
        two = Decimal(2).ln()
        assert tuple(float(Fraction((two * j / 64).exp())) for j in range(64)) == powers.TABLE
        coefficients = (powers.C1, powers.C2, powers.C3, powers.C4, powers.C5)
        assert coefficients == tuple(float(Fraction(two**k / math.factorial(k))) for k in range(1, 6))


@given(st.one_of(USUAL, ANY))
def test_less_than_two_units_from_the_exact_value(x: float) -> None:
    assert units_off(x) < 2.0


def test_less_than_two_units_between_the_places_of_the_table() -> None:
    assert max(units_off(near) for x in halves() for near in (x, math.nextafter(x, -math.inf))) < 2.0


@given(st.one_of(USUAL, ANY))
def test_at_most_two_units_from_the_c_library(x: float) -> None:
    other = math.exp2(x)
    assert abs(power_of_two(x) - other) <= 2.0 * math.ulp(other)


@given(USUAL, st.floats(2.0**-50, 1.0))
def test_does_not_fall_where_x_rises(x: float, by: float) -> None:
    assert power_of_two(x + by) >= power_of_two(x)


def test_does_not_fall_between_the_places_of_the_table() -> None:
    for x in halves():
        results = [power_of_two(x + step * 2.0**-50) for step in range(-8, 9)]
        assert results == sorted(results)


def test_whole_numbers_are_exact() -> None:
    assert all(power_of_two(float(n)) == math.ldexp(1.0, n) for n in range(-1022, 1023))


@pytest.mark.parametrize(
    ("x", "result"),
    [
        (-1022.0, 2.0**-1022),
        (math.nextafter(-1022.0, -math.inf), 0.0),
        (-1e308, 0.0),
        (-math.inf, 0.0),
        (math.nan, 0.0),
        (1023.0, math.inf),
        (math.inf, math.inf),
        (-0.0, 1.0),
        (5e-324, 1.0),
    ],
)
def test_gives_a_number_for_whatever_comes(x: float, result: float) -> None:
    assert power_of_two(x) == result


def test_ends_without_subnormal_or_infinite_numbers() -> None:
    assert power_of_two(math.nextafter(1023.0, 0.0)) < 2.0**1023
    assert power_of_two(math.nextafter(-1022.0, 0.0)) >= 2.0**-1022


def test_bits_are_those_that_other_implementations_must_give() -> None:
    """A digest of a fixed walk, which C's test makes as well: SplitMix64 from 1, each x in [-60, 31]."""
    state, digest = 1, 0
    for _ in range(2_000):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        mixed = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB % 2**64
        mixed ^= mixed >> 31
        x = -60.0 + (mixed >> 11) * 2.0**-53 * 91.0
        (bits,) = struct.unpack("<Q", struct.pack("<d", power_of_two(x)))
        digest = (digest * 31 + bits) % 2**64
    assert digest == 0x5DDA29CDD92CB8D5
