"""What a rule's program says of its terms without being run: one pass over its instructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from streams.rules.program import COMPARISONS, Op, Program
from streams.rules.term import Term


@dataclass(frozen=True)
class Shape:
    """Of a program, or of the part of one that gave a value on its stack."""

    terms: frozenset[int]
    """All that it reads."""
    rising: frozenset[int] = frozenset()
    """Terms that can raise it by falling; others can only lower it."""
    condition: bool = False
    """It gives 1 or 0 and no other number."""
    number: float | None = None
    """It is that constant."""


def shape(program: Program, terms: Sequence[Term]) -> Shape:
    """Of a checked program."""
    stack: list[Shape] = []
    for op, index, number in program[:-1]:
        if op is Op.NUM:
            stack.append(Shape(frozenset(), number=number))
        elif op is Op.TERM:
            stack.append(Shape(frozenset({index}), condition=terms[index].condition))
        elif op is Op.NOT:
            inner = stack.pop()
            stack.append(Shape(inner.terms, inner.terms, condition=True))
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
    if op in (Op.AND, Op.OR):
        return replace(joined, condition=True)
    if op in COMPARISONS:
        rises = op in (Op.GT, Op.GE) and right.number is not None
        return replace(joined, condition=True) if rises else replace(joined, condition=True, rising=terms)
    return replace(joined, rising=terms)
