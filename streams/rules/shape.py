"""What a rule's program says of its terms without being run: one pass over its instructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from state.native import COMPARISONS as GATES
from state.native import Need
from state.windows import TallySpec
from streams.rules.program import COMPARISONS, Op, Program
from streams.rules.term import Term

_SIGNS: Final = {Op.GT: ">", Op.GE: ">=", Op.LT: "<", Op.LE: "<=", Op.EQ: "==", Op.NE: "!="}
_OPPOSITE: Final = {">": "<=", ">=": "<", "<": ">=", "<=": ">", "==": "!=", "!=": "=="}


@dataclass(frozen=True)
class Shape:
    """Of a program, or of the part of one that gave a value on its stack."""

    terms: frozenset[int]
    """All that it reads."""
    rising: frozenset[int] = frozenset()
    """Terms that can raise it by falling; others can only lower it."""
    condition: bool = False
    """It gives 1 or 0 and no other number."""
    needs: tuple[Need, ...] = ()
    """Comparisons that all must hold for it to give anything above 0; others may as well."""
    fails: tuple[Need, ...] = ()
    """Comparisons that all must hold for it not to."""
    number: float | None = None
    """It is that constant."""
    tally: TallySpec | None = None
    """It is the total of that tally."""


def shape(program: Program, terms: Sequence[Term]) -> Shape:
    """Of a checked program."""
    stack: list[Shape] = []
    for op, index, number in program[:-1]:
        if op is Op.NUM:
            stack.append(Shape(frozenset(), number=number))
        elif op is Op.TERM:
            term = terms[index]
            tally = term.native if isinstance(term.native, TallySpec) else None
            stack.append(Shape(frozenset({index}), condition=term.condition, tally=tally))
        elif op is Op.NOT:
            inner = stack.pop()
            stack.append(Shape(inner.terms, inner.terms, condition=True, needs=inner.fails, fails=inner.needs))
        else:
            right = stack.pop()
            stack.append(_binary(op, stack.pop(), right))
    (whole,) = stack
    return whole


def _binary(op: Op, left: Shape, right: Shape) -> Shape:
    terms = left.terms | right.terms
    joined = Shape(terms, left.rising | right.rising)
    if op is Op.ADD:
        return joined
    if op is Op.AND:
        return replace(joined, condition=True, needs=left.needs + right.needs)
    if op is Op.OR:
        return replace(joined, condition=True, fails=left.fails + right.fails)
    if op not in COMPARISONS:
        return replace(joined, rising=terms)
    compared = replace(joined, condition=True, needs=_need(left, op, right), fails=_need(left, op, right, fails=True))
    if op in (Op.GT, Op.GE) and right.number is not None:
        return compared
    return replace(compared, rising=terms)


def _need(left: Shape, op: Op, right: Shape, fails: bool = False) -> tuple[Need, ...]:
    if left.tally is None or right.number is None:
        return ()
    sign = _OPPOSITE[_SIGNS[op]] if fails else _SIGNS[op]
    return (Need(left.tally, sign, right.number),) if sign in GATES else ()
