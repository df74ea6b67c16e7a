"""Programs of rules: what is taken and what they give; so do closures, C and a walk over the tree."""

from __future__ import annotations

import math
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from state.plain.record import PlainRecord
from streams.rules.closures import Bounds, Value, intervals, numbers
from streams.rules.compile import RuleError, parse_rule
from streams.rules.program import (
    ARITY,
    MOST_INSTRUCTIONS,
    MOST_NUMBER,
    MOST_STACK,
    Fault,
    Instruction,
    Interval,
    Op,
    Program,
    ProgramError,
    check,
    run,
    write,
)
from streams.wire.events import KINDS

ROOT = Path(__file__).resolve().parents[2]
TERMS = 4
FINITE = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 0.5, 3.0, 1e15, -1e15, 1e150, MOST_NUMBER, -MOST_NUMBER, 5e-324])
NUMBERS = FINITE | st.floats(-MOST_NUMBER, MOST_NUMBER)
#: also what no term should give
ANY = NUMBERS | st.sampled_from([math.inf, -math.inf, math.nan])
INTERVALS = st.tuples(NUMBERS, NUMBERS).map(lambda ends: (min(ends), max(ends)))
LEAVES = st.builds(lambda index: [Instruction(Op.TERM, index)], st.integers(0, TERMS - 1)) | st.builds(
    lambda number: [Instruction(Op.NUM, number=number)], NUMBERS
)


def joined(inner: st.SearchStrategy[list[Instruction]]) -> st.SearchStrategy[list[Instruction]]:
    pairs = st.sampled_from([op for op in Op if ARITY[op] == 2])
    return st.one_of(
        st.builds(lambda a, b, op: [*a, *b, Instruction(op)], inner, inner, pairs),
        st.builds(lambda a: [*a, Instruction(Op.NOT)], inner),
    )


PROGRAMS = st.recursive(LEAVES, joined, max_leaves=12).map(lambda code: (*code, Instruction(Op.END)))


def bits(value: Interval) -> bytes:
    return struct.pack("<2d", *value)


def fault(data: bytes, terms: int) -> tuple[int, int]:
    try:
        check(data, terms)
    except ProgramError as error:
        return error.fault, error.at
    return 0, len(data) // 16


# what is taken


@given(PROGRAMS)
def test_a_sound_program_is_taken_and_written_as_the_same_bytes(program: Program) -> None:
    data = write(program)
    assert len(data) == 16 * len(program)
    assert check(data, TERMS) == program
    assert write(check(data, TERMS)) == data


NUM, END = Instruction(Op.NUM, number=1.0), Instruction(Op.END)


def raw(op: int, arity: int = 0, index: int = 0, zero: int = 0, number: float = 0.0) -> bytes:
    return struct.pack("<BBHId", op, arity, index, zero, number)


@pytest.mark.parametrize(
    ("data", "found", "at"),
    [
        (b"", Fault.SIZE, 0),
        (write([NUM, END])[:-1], Fault.SIZE, 0),
        (write([*[NUM] * MOST_INSTRUCTIONS, END]), Fault.SIZE, 0),
        (raw(16) + write([END]), Fault.OP, 0),
        (raw(Op.NUM, arity=1) + write([END]), Fault.FIELDS, 0),
        (raw(Op.NUM, zero=1) + write([END]), Fault.FIELDS, 0),
        (raw(Op.NUM, index=1) + write([END]), Fault.FIELDS, 0),
        (raw(Op.TERM, number=1.0) + write([END]), Fault.FIELDS, 0),
        (raw(Op.TERM, number=math.nan) + write([END]), Fault.FIELDS, 0),
        (raw(Op.TERM, index=TERMS) + write([END]), Fault.TERM, 0),
        (raw(Op.NUM, number=math.inf) + write([END]), Fault.NUMBER, 0),
        (raw(Op.NUM, number=math.nan) + write([END]), Fault.NUMBER, 0),
        (raw(Op.NUM, number=-1.1e300) + write([END]), Fault.NUMBER, 0),
        (write([NUM, Instruction(Op.ADD), END]), Fault.OPERANDS, 1),
        (write([Instruction(Op.NOT), END]), Fault.OPERANDS, 0),
        (write([END]), Fault.END, 0),
        (write([NUM, NUM, END]), Fault.END, 2),
        (write([NUM]), Fault.END, 0),
        (write([NUM, END, END]), Fault.END, 1),
        (write([*[NUM] * (MOST_STACK + 1), *[Instruction(Op.ADD)] * MOST_STACK, END]), Fault.DEPTH, MOST_STACK),
    ],
)
def test_the_first_fault_of_a_program_is_named(data: bytes, found: Fault, at: int) -> None:
    assert fault(data, TERMS) == (found, at)


def test_a_program_may_use_the_whole_stack() -> None:
    program = (*[NUM] * MOST_STACK, *[Instruction(Op.ADD)] * (MOST_STACK - 1), END)
    assert run(check(write(program), 0), []) == (MOST_STACK, MOST_STACK)


# what it gives


@given(PROGRAMS, st.lists(st.tuples(INTERVALS, st.floats(0.0, 1.0)), min_size=TERMS, max_size=TERMS))
@example((Instruction(Op.TERM, 0), Instruction(Op.TERM, 1), Instruction(Op.SUB), END), [((1.0, 1e300), 1.0)] * TERMS)
@example((Instruction(Op.TERM, 0), Instruction(Op.TERM, 1), Instruction(Op.DIV), END), [((-1.0, 1.0), 0.5)] * TERMS)
def test_an_interval_holds_whatever_its_terms_may_be(program: Program, terms: list[tuple[Interval, float]]) -> None:
    points = [min(max(low * (1.0 - at) + high * at, low), high) for (low, high), at in terms]
    low, high = run(program, [interval for interval, _ in terms])
    least, most = run(program, [(point, point) for point in points])
    assert -MOST_NUMBER <= low <= least == most <= high <= MOST_NUMBER


@given(PROGRAMS, st.lists(NUMBERS, min_size=TERMS, max_size=TERMS))
@example((*[Instruction(Op.TERM, 0)] * 3, Instruction(Op.MUL), Instruction(Op.MUL), END), [1e299] * TERMS)
@example((Instruction(Op.TERM, 0), *[Instruction(Op.NOT)] * 200, END), [2.0] * TERMS)
def test_over_numbers_a_program_gives_the_same(program: Program, values: list[float]) -> None:
    found = numbers(program, [constant(value) for value in values])(PlainRecord("u").cells, 0.0)
    assert bits((found, found)) == bits(run(program, [(value, value) for value in values]))


@given(PROGRAMS, st.lists(INTERVALS, min_size=TERMS, max_size=TERMS))
@example((Instruction(Op.TERM, 0), *[Instruction(Op.NOT)] * 200, END), [(0.0, 2.0)] * TERMS)
def test_over_intervals_a_program_gives_the_same(program: Program, terms: list[Interval]) -> None:
    found = intervals(program, [interval(value) for value in terms])(PlainRecord("u").cells, 0.0)
    assert bits(found) == bits(run(program, terms))


def constant(value: float) -> Value:
    return lambda _cells, _now: value


def interval(value: Interval) -> Bounds:
    return lambda _cells, _now: value


def test_what_is_no_interval_may_be_anything() -> None:
    program = (Instruction(Op.TERM, 0), END)
    for value in ((math.nan, 1.0), (0.0, math.nan), (2.0, 1.0), (-math.inf, math.inf)):
        assert run(program, [value]) == (-MOST_NUMBER, MOST_NUMBER)
    assert run(program, [(3.0, math.inf)]) == (3.0, MOST_NUMBER)


# a third opinion: the written rule by a walk over its tree

WRITTEN = [f'count("{kind}", within="1h")' for kind in ("view", "click", "purchase", "comment")]
Tree = Any
TREES = st.recursive(
    st.integers(0, TERMS - 1) | st.sampled_from([0.0, 1.0, 2.0, 0.5, -1.0, -2.5]),
    lambda inner: st.one_of(
        st.tuples(st.sampled_from(["+", "-", "*", "/", ">", ">=", "<", "<=", "==", "!="]), inner, inner),
        st.tuples(st.sampled_from(["and", "or"]), inner, inner, inner),
        st.tuples(st.just("not"), inner),
    ),
    max_leaves=10,
)


def text_of(tree: Tree) -> str:
    if isinstance(tree, int):
        return WRITTEN[tree]
    if isinstance(tree, float):
        return f"{tree:g}"
    op, *parts = tree
    return f"(not {text_of(parts[0])})" if op == "not" else f"({f' {op} '.join(text_of(part) for part in parts)})"


def number_of(tree: Tree, values: Sequence[float]) -> float:
    if isinstance(tree, int):
        return values[tree]
    if isinstance(tree, float):
        return tree
    op, *parts = tree
    a, *more = (number_of(part, values) for part in parts)
    b = more[0] if more else 0.0
    match op:
        case "and":
            return float(min(a, *more) > 0)
        case "or":
            return float(max(a, *more) > 0)
        case "not":
            return float(a <= 0)
        case "/":
            return a / b if b else 0.0
        case "+" | "-" | "*":
            return {"+": a + b, "-": a - b, "*": a * b}[op]
    return float({">": a > b, ">=": a >= b, "<": a < b, "<=": a <= b, "==": a == b, "!=": a != b}[op])


@given(TREES, st.lists(st.sampled_from([0.0, 1.0, 2.0, 3.0, 7.0]), min_size=TERMS, max_size=TERMS))
def test_a_rule_gives_what_a_walk_over_its_tree_gives(tree: Tree, values: list[float]) -> None:
    counted = " + ".join(WRITTEN)  # so that each rule counts something, and the terms are numbered
    rule = parse_rule(f"({counted}) * 0 + {text_of(tree)}", KINDS)
    expected = number_of(tree, values)
    assert run(rule.program, [(value, value) for value in values]) == (expected, expected)
    assert numbers(rule.program, [constant(value) for value in values])(PlainRecord("u").cells, 0.0) == expected


# what the compiler makes of constants and depth

VIEWS = WRITTEN[0]


def test_constants_are_reckoned_when_the_rule_is_parsed() -> None:
    program = parse_rule(f"{VIEWS} >= 2 * 3 - 1 / 0", KINDS).program
    assert program == (Instruction(Op.TERM), Instruction(Op.NUM, number=6.0), Instruction(Op.GE), END)


@pytest.mark.parametrize("factors", [21, 30])
def test_constants_beyond_the_largest_number_are_refused(factors: int) -> None:
    with pytest.raises(RuleError, match=r"at column 65: 10+\.0 \* .* is beyond 1e\+300"):
        parse_rule(f"{VIEWS} > 0 and {VIEWS} < {' * '.join(['1e15'] * factors)}", KINDS)


def test_a_long_chain_takes_two_places_of_the_stack() -> None:
    rule = parse_rule(" or ".join(f"{VIEWS} == {number}" for number in range(1_000)), KINDS)
    assert run(rule.program, [(999.0, 999.0)]) == (1.0, 1.0)
    assert rule.evaluate(PlainRecord("u").cells, 0.0) == 1.0


def test_what_is_nested_too_deeply_or_too_long_is_refused_by_name() -> None:
    five = f"{VIEWS} or {VIEWS} and {VIEWS} < {VIEWS} + {VIEWS} * ("  # so many values wait for what is in the brackets
    parse_rule(f"{five * 51}{VIEWS}{')' * 51}", KINDS)
    with pytest.raises(RuleError, match=r"nested too deeply \(more than 256 values at a time\), at column 1"):
        parse_rule(f"{five * 52}{VIEWS}{')' * 52}", KINDS)
    with pytest.raises(RuleError, match=r"too long \(more than 4,096 steps\), at column 1"):
        parse_rule(" or ".join([VIEWS] * 2_100), KINDS)


# the same in C


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    """``tests/c/program_driver.c`` under the address and undefined-behaviour sanitizers."""
    binary = tmp_path_factory.mktemp("program") / "driver"
    flags = "-std=c11 -O1 -g -ffp-contract=off -fsanitize=address,undefined -fno-sanitize-recover=all -Istate/c/core"
    warnings = "-Wall -Wextra -Wconversion -Wshadow -Werror"
    sources = ["state/c/core/program.c", "tests/c/program_driver.c"]
    subprocess.run(["cc", *flags.split(), *warnings.split(), *sources, "-o", str(binary)], cwd=ROOT, check=True)
    with subprocess.Popen([binary], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0


def in_c(driver: subprocess.Popen[bytes], data: bytes, terms: Sequence[Interval]) -> tuple[int, int, bytes]:
    """(fault, at, bits of the interval)"""
    assert driver.stdin is not None
    assert driver.stdout is not None
    driver.stdin.write(struct.pack("<2I", len(data) // 16, len(terms)) + data + b"".join(map(bits, terms)))
    driver.stdin.flush()
    answer = driver.stdout.read(24)
    assert len(answer) == 24, "the driver died: see its last words above"
    found, at = struct.unpack_from("<2I", answer)
    return found, at, answer[8:]


@pytest.mark.compiled
@settings(max_examples=300)
@given(PROGRAMS, st.lists(st.tuples(ANY, ANY), min_size=TERMS, max_size=TERMS))
def test_c_gives_the_same_bits(driver: subprocess.Popen[bytes], program: Program, terms: list[Interval]) -> None:
    assert in_c(driver, write(program), terms) == (0, len(program), bits(run(program, terms)))


@pytest.mark.compiled
@settings(max_examples=300)
@given(PROGRAMS, st.lists(INTERVALS, min_size=TERMS, max_size=TERMS))
@example((Instruction(Op.TERM), Instruction(Op.TERM, 1), Instruction(Op.MUL), END), [(0.0, 1.0), (-1.0, 0.0)] * 2)
@example((Instruction(Op.TERM), Instruction(Op.TERM, 1), Instruction(Op.MUL), END), [(-1.0, 0.0)] * TERMS)
def test_c_gives_the_same_bits_of_intervals(
    driver: subprocess.Popen[bytes], program: Program, terms: list[Interval]
) -> None:
    assert in_c(driver, write(program), terms) == (0, len(program), bits(run(program, terms)))


DAMAGE = st.tuples(st.integers(0, 10_000), st.integers(0, 15), st.integers(0, 255))


@pytest.mark.compiled
@settings(max_examples=300)
@given(PROGRAMS, st.lists(DAMAGE, max_size=3), st.integers(0, TERMS), st.integers(0, 2))
@example((*[NUM] * MOST_STACK, NUM, *[Instruction(Op.ADD)] * MOST_STACK, END), [], 0, 0)
@example((*[NUM] * MOST_STACK, *[Instruction(Op.ADD)] * (MOST_STACK - 1), END), [], 0, 0)
@example((), [], 0, 0)
@example((*[NUM] * MOST_INSTRUCTIONS, END), [], 0, 0)
def test_c_takes_the_same_programs(
    driver: subprocess.Popen[bytes], program: Program, damage: list[tuple[int, int, int]], terms: int, lost: int
) -> None:
    data = bytearray(write(program[: len(program) - lost]))
    for step, at, value in damage:
        if data:
            data[step * 16 % len(data) + at] = value
    known = [(1.0, 2.0)] * terms
    found = fault(bytes(data), terms)
    expected = bits((0.0, 0.0) if found[0] else run(check(bytes(data), terms), known))
    assert in_c(driver, bytes(data), known) == (*found, expected)
