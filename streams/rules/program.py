"""The little program that a rule becomes: postfix instructions whose values are intervals.

A value is (low, high): the least and the most that it may be. What is known has low = high, and then every operator
gives what the rule language says of numbers; of what is not known (``state.unknown``) a rule surely holds where the
lower end is above 0, and surely not where the upper end is not. Operands are taken as independent: an interval may be
wider than what can be, never narrower. Truth is 1 or 0, and whatever is above 0 is true. Results are held within
``MOST_NUMBER``, so that neither infinities nor NaN come up.

An instruction is 16 bytes, little-endian: u8 op, u8 arity, u16 term, u32 0, f64 number. ``state/c/core/program.c`` is
the same in C: what one takes the other takes, and they give the same bits.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

#: (least, most)
Interval = tuple[float, float]

MOST_INSTRUCTIONS: Final = 4_096
MOST_STACK: Final = 256
#: far above every sum that a cell holds, and its square root far above every constant
MOST_NUMBER: Final = 1e300

FALSE: Final[Interval] = (0.0, 0.0)
TRUE: Final[Interval] = (1.0, 1.0)
EITHER: Final[Interval] = (0.0, 1.0)
ANYTHING: Final[Interval] = (-MOST_NUMBER, MOST_NUMBER)


class Op(IntEnum):
    """What an instruction does."""

    END = 0
    NUM = 1
    TERM = 2
    ADD = 3
    SUB = 4
    MUL = 5
    DIV = 6
    GT = 7
    GE = 8
    LT = 9
    LE = 10
    EQ = 11
    NE = 12
    NOT = 13
    AND = 14
    OR = 15


#: how many values an op takes from the stack; each but END puts one there
ARITY: Final = {op: 0 if op <= Op.TERM else 1 if op is Op.NOT else 2 for op in Op}
#: a member of an enumeration is slow to look up before Python 3.12, and the interpreter does it for each instruction
_END, _NUM, _TERM, _NOT = Op.END, Op.NUM, Op.TERM, Op.NOT
COMPARISONS: Final = frozenset({Op.GT, Op.GE, Op.LT, Op.LE, Op.EQ, Op.NE})


class Fault(IntEnum):
    """What is wrong with a program."""

    SIZE = 1
    """It has no instructions, part of one, or more than ``MOST_INSTRUCTIONS``."""
    OP = 2
    """An op that is not known."""
    FIELDS = 3
    """Another arity than the op's, or something where nothing belongs."""
    TERM = 4
    """A term that is not there."""
    NUMBER = 5
    """A number beyond ``MOST_NUMBER``, or none."""
    OPERANDS = 6
    """An op with fewer values on the stack than it takes."""
    DEPTH = 7
    """More than ``MOST_STACK`` values on the stack."""
    END = 8
    """It ends in between, or not at its end, or with another number of values than one."""


class ProgramError(ValueError):
    """The program cannot be run; ``at`` is the number of the instruction."""

    def __init__(self, fault: Fault, at: int) -> None:
        super().__init__(f"the program is wrong at instruction {at}: {fault.name.lower()}")
        self.fault = fault
        self.at = at


class Instruction(NamedTuple):
    """One step. ``term`` is the number of one, of TERM; ``number`` is NUM's."""

    op: Op
    term: int = 0
    number: float = 0.0


Program = tuple[Instruction, ...]
_LAYOUT: Final = struct.Struct("<BBHId")


def write(program: Iterable[Instruction]) -> bytes:
    """The program's bytes, 16 for each instruction."""
    return b"".join(_LAYOUT.pack(op, ARITY[op], term, 0, number) for op, term, number in program)


def check(data: bytes, terms: int) -> Program:
    """The program of these bytes, for so many terms. Raises ProgramError, with the first fault from its beginning."""
    count, rest = divmod(len(data), _LAYOUT.size)
    if rest or not 0 < count <= MOST_INSTRUCTIONS:
        raise ProgramError(Fault.SIZE, 0)
    program = []
    depth = 0
    for at, (op, arity, index, zero, number) in enumerate(_LAYOUT.iter_unpack(data)):
        if op > Op.OR:
            raise ProgramError(Fault.OP, at)
        if arity != ARITY[Op(op)] or zero or (index and op != Op.TERM) or (number != 0.0 and op != Op.NUM):
            raise ProgramError(Fault.FIELDS, at)
        if op == Op.TERM and index >= terms:
            raise ProgramError(Fault.TERM, at)
        if not -MOST_NUMBER <= number <= MOST_NUMBER:
            raise ProgramError(Fault.NUMBER, at)
        if arity > depth:
            raise ProgramError(Fault.OPERANDS, at)
        if (op == Op.END) != (at == count - 1) or (op == Op.END and depth != 1):
            raise ProgramError(Fault.END, at)
        depth += (op != Op.END) - arity
        if depth > MOST_STACK:
            raise ProgramError(Fault.DEPTH, at)
        program.append(Instruction(Op(op), index, number))
    return tuple(program)


def run(program: Program, terms: Sequence[Interval]) -> Interval:
    """What a checked program gives for these values of its terms."""
    stack: list[Interval] = []
    for op, term, number in program:
        if op is _TERM:
            value = low, high = terms[term]
            stack.append(value if -MOST_NUMBER <= low <= high <= MOST_NUMBER else _held(low, high))
        elif op is _NUM:
            stack.append((number, number))
        elif op is _END:
            break
        elif op is _NOT:
            stack[-1] = negated(stack[-1])
        else:
            right = stack.pop()
            stack[-1] = BINARY[op](stack[-1], right)
    return stack[0]


def bounded(number: float) -> float:
    """The number, or the nearest one that results are held within; it is not NaN."""
    return number if -MOST_NUMBER <= number <= MOST_NUMBER else MOST_NUMBER if number > 0.0 else -MOST_NUMBER


def _held(low: float, high: float) -> Interval:
    """What a term gives; what is no interval may be anything."""
    return (bounded(low), bounded(high)) if low <= high else ANYTHING


def negated(value: Interval) -> Interval:
    """1 where the value is not above 0."""
    return (0.0 if value[1] > 0.0 else 1.0), (0.0 if value[0] > 0.0 else 1.0)


def _and(a: Interval, b: Interval) -> Interval:
    return (1.0 if a[0] > 0.0 and b[0] > 0.0 else 0.0), (1.0 if a[1] > 0.0 and b[1] > 0.0 else 0.0)


def _or(a: Interval, b: Interval) -> Interval:
    return (1.0 if a[0] > 0.0 or b[0] > 0.0 else 0.0), (1.0 if a[1] > 0.0 or b[1] > 0.0 else 0.0)


def _add(a: Interval, b: Interval) -> Interval:
    return bounded(a[0] + b[0]), bounded(a[1] + b[1])


def _subtract(a: Interval, b: Interval) -> Interval:
    return bounded(a[0] - b[1]), bounded(a[1] - b[0])


def _multiply(a: Interval, b: Interval) -> Interval:
    found = (a[0] * b[0], a[0] * b[1], a[1] * b[0], a[1] * b[1])
    return bounded(min(found)), bounded(max(found))


def _divide(a: Interval, b: Interval) -> Interval:
    if b[0] <= 0.0 <= b[1]:
        if b[0] == b[1]:
            return FALSE  # a division by zero gives 0
        return (0.0 if a[0] >= 0.0 and b[0] >= 0.0 else -MOST_NUMBER), MOST_NUMBER
    found = (a[0] / b[0], a[0] / b[1], a[1] / b[0], a[1] / b[1])
    return bounded(min(found)), bounded(max(found))


def _greater(a: Interval, b: Interval) -> Interval:
    return TRUE if a[0] > b[1] else FALSE if a[1] <= b[0] else EITHER


def _at_least(a: Interval, b: Interval) -> Interval:
    return TRUE if a[0] >= b[1] else FALSE if a[1] < b[0] else EITHER


def _equal(a: Interval, b: Interval) -> Interval:
    if a[0] > b[1] or a[1] < b[0]:
        return FALSE
    return TRUE if a[0] == a[1] == b[0] == b[1] else EITHER


BINARY: Final[dict[Op, Callable[[Interval, Interval], Interval]]] = {
    Op.ADD: _add,
    Op.SUB: _subtract,
    Op.MUL: _multiply,
    Op.DIV: _divide,
    Op.GT: _greater,
    Op.GE: _at_least,
    Op.LT: lambda a, b: _greater(b, a),
    Op.LE: lambda a, b: _at_least(b, a),
    Op.EQ: _equal,
    Op.NE: lambda a, b: negated(_equal(a, b)),
    Op.AND: _and,
    Op.OR: _or,
}
