"""Rules over behaviour, written as an expression that is checked before it is used.

    count("purchase", within="30d") >= 3 and not count("view", category="sale", within="7d") > 10
    total("purchase", "amount", within="30d") >= 200

    absent("purchase", after="click", wait="30m", within="2d")

Terms are the rows of ``streams.rules.terms``. They combine by numbers; ``+ - * /`` (a division by zero gives 0);
comparisons; and / or / not. A comparison gives 1 or 0; whatever is above 0 is true. Durations are like ``30m``,
``24h``, ``7d``, ``1d 12h``. A rule may have several lines. Python's own parser reads it; only these nodes are taken,
nothing is ever executed: the rule becomes a program of its own (``streams.rules.program``).
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from state.absence import Sort
from state.record import Cells
from state.unknown import Terms
from state.windows import TallySpec
from streams.rules import explain
from streams.rules.closures import Bounds, Value, intervals, numbers
from streams.rules.program import (
    MOST_INSTRUCTIONS,
    MOST_NUMBER,
    MOST_STACK,
    Fault,
    Instruction,
    Op,
    Program,
    ProgramError,
    check,
    write,
)
from streams.rules.shape import shape
from streams.rules.term import Call, Cell, Row, Term
from streams.rules.terms import TERMS

MAX_NUMBER: Final = 1e15
"""Larger constants are refused: every count stays below."""
_BINARY: Final[dict[type[ast.operator], tuple[Op, Callable[[float, float], float]]]] = {
    ast.Add: (Op.ADD, operator.add),
    ast.Sub: (Op.SUB, operator.sub),
    ast.Mult: (Op.MUL, operator.mul),
    ast.Div: (Op.DIV, lambda a, b: a / b if b else 0.0),
}
_COMPARE: Final[dict[type[ast.cmpop], Op]] = {
    ast.Gt: Op.GT,
    ast.GtE: Op.GE,
    ast.Lt: Op.LT,
    ast.LtE: Op.LE,
    ast.Eq: Op.EQ,
    ast.NotEq: Op.NE,
}


class RuleError(ValueError):
    """The rule cannot be understood; the message says where."""


@dataclass(frozen=True)
class Rule:
    """A checked rule."""

    text: str
    program: Program
    written: tuple[str, ...]
    """Each term as it is written, for explanations."""
    terms: tuple[Term, ...]
    """These, as the program numbers them."""
    evaluate: Value
    """(cells, now) → above 0 when the rule holds, of a user of whom all is known: what ``bounds`` gives twice then."""
    bounds: Bounds
    """(cells, now) → the least and the most that it may give, of any user."""
    begins_by: frozenset[Term]
    """Terms whose change by time can make the rule true, and whose change by an event can make it false; the others
    can only do the opposite."""
    condition: bool
    """The rule is true or false (scores 1 and 0), not a number of its own."""

    @cached_property
    def cells(self) -> frozenset[Cell]:
        """What it asks to be counted."""
        return frozenset(cell for term in self.terms for cell in term.cells)

    @property
    def asks(self) -> Terms:
        """These, as the state and the position record know them."""
        return Terms(
            frozenset(cell for cell in self.cells if isinstance(cell, TallySpec)),
            frozenset(cell for cell in self.cells if isinstance(cell, Sort)),
        )

    @property
    def span(self) -> float:
        """How many seconds it looks back at most."""
        return max(term.span for term in self.terms)

    @cached_property
    def pattern(self) -> str:
        """``told`` of a user of whom all is known, ``%`` a tuple of the values."""
        return explain.pattern(self.written)

    def values(self, cells: Cells, now: float) -> dict[str, float]:
        return {written: term.value(cells, now) for written, term in zip(self.written, self.terms, strict=True)}

    def told(self, cells: Cells, now: float) -> str:
        """The values in words; of what is not known, that and since when it is."""
        bounds = [term.bounds(cells, now) for term in self.terms]
        before = max(term.not_known_before(cells, now) for term in self.terms)
        return explain.told(zip(self.written, bounds, strict=True), before)


def parse_rule(text: str, kinds: tuple[str, ...]) -> Rule:
    """Check and compile a rule. Raises RuleError."""
    line = text.replace("\n", " ").replace("\r", " ").replace("\t", " ")
    written = line.lstrip(" ")
    compiler = _Compiler(text, kinds, written, len(line) - len(written))
    try:
        program = compiler.program(ast.parse(written, mode="eval").body)
    except SyntaxError as error:
        column = compiler.skipped + (error.offset or len(written) + 1)  # 0: the end came too early
        raise RuleError(f"the rule {text!r} is not an expression: {error.msg} at column {column}") from None
    except (RecursionError, MemoryError):
        raise RuleError(f"the rule {text[:40]!r}… is nested too deeply, at column {compiler.skipped + 1}") from None
    except RuleError:
        raise
    except ValueError as error:  # what the parser does not take at all, such as a NUL
        raise RuleError(f"the rule {text[:200]!r} is not an expression: {error}") from None
    terms = tuple(compiler.terms.values())
    found = shape(program, terms)
    return Rule(
        text,
        program,
        tuple(compiler.terms),
        terms,
        numbers(program, [term.value for term in terms]),
        intervals(program, [term.bounds for term in terms]),
        frozenset(term for at, term in enumerate(terms) if at in found.rising or not term.monotone),
        found.condition,
    )


class _Compiler:
    def __init__(self, text: str, kinds: tuple[str, ...], written: str, skipped: int) -> None:
        """``written`` is what is parsed: ``text`` in one line, without the ``skipped`` blanks before it."""
        self.text = text
        self.kinds = kinds
        self.written = written.encode()
        self.skipped = skipped
        self.terms: dict[str, Term] = {}
        self._numbers: dict[str, int] = {}

    def fail(self, node: ast.expr, why: str) -> RuleError:
        before = self.written[: node.col_offset].decode()  # the parser counts bytes
        return RuleError(f"in the rule {self.text!r} at column {self.skipped + len(before) + 1}: {why}")

    def program(self, node: ast.expr) -> Program:
        """The whole of it. Raises RuleError, RecursionError."""
        code = self.build(node)
        if not self.terms:
            raise RuleError(f"the rule {self.text!r} counts nothing")
        try:
            return check(write([*code, Instruction(Op.END)]), len(self.terms))
        except ProgramError as error:
            why = f"is nested too deeply (more than {MOST_STACK} values at a time)"
            if error.fault is not Fault.DEPTH:
                why = f"is too long (more than {MOST_INSTRUCTIONS:,} steps)"
            raise RuleError(f"the rule {self.text[:40]!r}… {why}, at column {self.skipped + 1}") from None

    def build(self, node: ast.expr) -> list[Instruction]:
        """The instructions that put the node's value on the stack."""
        match node:
            case ast.BoolOp():
                return self._bool(node)
            case ast.UnaryOp(op=ast.Not()):
                return [*self.build(node.operand), Instruction(Op.NOT)]
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)) if not isinstance(
                number, bool
            ):
                return [_number(-self._constant(node, number))]
            case ast.BinOp():
                return self._binary(node)
            case ast.Compare():
                return self._compare(node)
            case ast.Call():
                return [Instruction(Op.TERM, self._term(node))]
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                return [_number(self._constant(node, number))]
        raise self.fail(node, f"{ast.unparse(node)!r} is not part of the rule language")

    def _constant(self, node: ast.expr, number: float) -> float:
        if number > MAX_NUMBER:
            raise self.fail(node, f"numbers are at most {MAX_NUMBER:g}")
        return float(number)

    def _bool(self, node: ast.BoolOp) -> list[Instruction]:
        join = Instruction(Op.AND if isinstance(node.op, ast.And) else Op.OR)
        first, *others = node.values
        code = self.build(first)
        for other in others:  # in pairs, so that a long chain takes two places of the stack
            code += self.build(other)
            code.append(join)
        return code

    def _binary(self, node: ast.BinOp) -> list[Instruction]:
        if type(node.op) not in _BINARY:
            raise self.fail(node, "only + - * / can combine numbers")
        op, combine = _BINARY[type(node.op)]
        left, right = self.build(node.left), self.build(node.right)
        if left[-1].op is not Op.NUM or right[-1].op is not Op.NUM:
            left += right
            left.append(Instruction(op))
            return left
        number = combine(left[0].number, right[0].number)
        if not abs(number) <= MOST_NUMBER:
            raise self.fail(node, f"{ast.unparse(node)} is beyond {MOST_NUMBER:g}")
        return [_number(number)]

    def _compare(self, node: ast.Compare) -> list[Instruction]:
        if len(node.ops) != 1:
            raise self.fail(node, "write chained comparisons with `and`")
        op = _COMPARE.get(type(node.ops[0]))
        if op is None:
            raise self.fail(node, "only > >= < <= == != compare")
        return [*self.build(node.left), *self.build(node.comparators[0]), Instruction(op)]

    def _term(self, node: ast.Call) -> int:
        """The number of the term; what is written alike is the same."""
        row = TERMS.get(node.func.id if isinstance(node.func, ast.Name) else "")
        if row is None:
            known = _listed([f"{name}(…)" for name in TERMS])
            raise self.fail(node, f"{ast.unparse(node.func)!r} is not known; known are {known}")
        try:
            term = row.parse(self._call(node, row))
        except RuleError:
            raise
        except ValueError as error:
            raise self.fail(node, str(error)) from None
        written = ast.unparse(node)
        self.terms.setdefault(written, term)
        return self._numbers.setdefault(written, len(self._numbers))

    def _call(self, node: ast.Call, row: Row) -> Call:
        words = tuple(self._string(value) for value in node.args)
        if len(words) != len(row.takes):
            raise self.fail(node, f"{row.name} takes {' and '.join(row.takes)}")
        if any(key.arg is None for key in node.keywords):
            raise self.fail(node, 'write the options one by one, as in within="7d"')
        options = {key.arg: self._string(key.value) for key in node.keywords if key.arg}
        if unknown := set(options) - set(row.options):
            raise self.fail(node, f"{', '.join(sorted(unknown))} is not an option; known are {_listed(row.options)}")
        return Call(words, options, self.kinds)

    def _string(self, node: ast.expr) -> str:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        raise self.fail(node, f"{ast.unparse(node)} must be text in quotes")


def _number(number: float) -> Instruction:
    return Instruction(Op.NUM, number=number)


def _listed(names: list[str] | tuple[str, ...]) -> str:
    *most, final = names
    return f"{', '.join(most)} and {final}"
