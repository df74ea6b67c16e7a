"""A rule over what is not all known: the least and the most that it may give. See ``state.unknown``.

A term that is known is one number; one that is not is anything from what was counted upwards. Each operator gives the
interval of all that it may give, so a rule surely holds where the lower end is above 0, and surely not where the upper
end is not. Terms are taken as independent: the interval may be wider than what can be, never narrower.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable, Mapping
from itertools import product
from typing import Final

from state.user import UserState

#: (least, most)
Interval = tuple[float, float]
Bounds = Callable[[UserState, float], Interval]

FALSE: Final[Interval] = (0.0, 0.0)
TRUE: Final[Interval] = (1.0, 1.0)
EITHER: Final[Interval] = (0.0, 1.0)


def compile_bounds(node: ast.expr, terms: Mapping[ast.expr, Bounds]) -> Bounds:
    """The bounds of a rule that was checked; ``terms`` are those of its calls."""
    match node:
        case ast.Call():
            return terms[node]
        case ast.Constant(value=int() | float() as number):
            return _constant(float(number))
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return _constant(-float(number))
        case ast.UnaryOp(op=ast.Not()):
            inner = compile_bounds(node.operand, terms)
            return lambda state, now: _not(_truth(inner(state, now)))
        case ast.BoolOp():
            parts = [compile_bounds(value, terms) for value in node.values]
            choose = min if isinstance(node.op, ast.And) else max

            def joined(state: UserState, now: float) -> Interval:
                found = [_truth(part(state, now)) for part in parts]
                return choose(low for low, _ in found), choose(high for _, high in found)

            return joined
        case ast.BinOp():
            combine = _BINARY[type(node.op)]
            left, right = compile_bounds(node.left, terms), compile_bounds(node.right, terms)
            return lambda state, now: combine(left(state, now), right(state, now))
        case ast.Compare(ops=[op], comparators=[limit]):
            compare = _COMPARE[type(op)]
            left, right = compile_bounds(node.left, terms), compile_bounds(limit, terms)
            return lambda state, now: compare(left(state, now), right(state, now))
    raise AssertionError(f"{ast.unparse(node)} was not checked")


def _constant(number: float) -> Bounds:
    return lambda _state, _now: (number, number)


def _truth(value: Interval) -> Interval:
    """Whatever is above 0 is true."""
    return (1.0 if value[0] > 0.0 else 0.0), (1.0 if value[1] > 0.0 else 0.0)


def _not(truth: Interval) -> Interval:
    return 1.0 - truth[1], 1.0 - truth[0]


def _add(a: Interval, b: Interval) -> Interval:
    return a[0] + b[0], a[1] + b[1]


def _subtract(a: Interval, b: Interval) -> Interval:
    return a[0] - b[1], a[1] - b[0]


def _multiply(a: Interval, b: Interval) -> Interval:
    # whatever is multiplied is finite, only its bound may not be: so 0 times that is 0
    found = [x * y if x and y else 0.0 for x, y in product(a, b)]
    return min(found), max(found)


def _divide(a: Interval, b: Interval) -> Interval:
    if b[0] <= 0.0 <= b[1]:
        if b == (0.0, 0.0):
            return FALSE  # a division by zero gives 0
        if a[0] >= 0.0 and b[0] >= 0.0:
            return 0.0, math.inf
        return -math.inf, math.inf
    found = [0.0 if math.isinf(y) else x / y for x, y in product(a, b)]
    return min(found), max(found)


_BINARY: Final[dict[type[ast.operator], Callable[[Interval, Interval], Interval]]] = {
    ast.Add: _add,
    ast.Sub: _subtract,
    ast.Mult: _multiply,
    ast.Div: _divide,
}


def _greater(a: Interval, b: Interval) -> Interval:
    return TRUE if a[0] > b[1] else FALSE if a[1] <= b[0] else EITHER


def _at_least(a: Interval, b: Interval) -> Interval:
    return TRUE if a[0] >= b[1] else FALSE if a[1] < b[0] else EITHER


def _equal(a: Interval, b: Interval) -> Interval:
    if a[0] > b[1] or a[1] < b[0]:
        return FALSE
    return TRUE if a[0] == a[1] == b[0] == b[1] else EITHER


_COMPARE: Final[dict[type[ast.cmpop], Callable[[Interval, Interval], Interval]]] = {
    ast.Gt: _greater,
    ast.GtE: _at_least,
    ast.Lt: lambda a, b: _greater(b, a),
    ast.LtE: lambda a, b: _at_least(b, a),
    ast.Eq: _equal,
    ast.NotEq: lambda a, b: _not(_equal(a, b)),
}
