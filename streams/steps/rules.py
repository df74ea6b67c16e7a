"""Rules over behaviour, written as an expression that is checked before it is used.

    count("purchase", within="30d") >= 3 and not count("view", category="sale", within="7d") > 10
    total("purchase", "amount", within="30d") >= 200

    absent("purchase", after="click", wait="30m", within="2d")

Terms: ``count(kind, within=…, category=…)`` and ``total(kind, measure, within=…, category=…)`` with the measures
``amount`` and ``dwell`` (seconds); ``absent(kind, after=kind, wait=…, within=…, category=…, after_category=…)``, 1 from
``wait`` to ``within`` (7 d) after the latest trigger while nothing of ``kind`` followed it, else 0; numbers;
``+ - * /`` (a division by zero gives 0); comparisons; and / or / not.
A comparison gives 1 or 0; whatever is above 0 is true. Durations are like ``30m``, ``24h``, ``7d``, ``1d 12h``.
A rule may have several lines. Python's own parser reads it; only these nodes are taken, nothing is ever executed.
"""

from __future__ import annotations

import ast
import math
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from state.absence import Absence, Sort
from state.native import COMPARISONS, Need
from state.unknown import Terms, is_unknown
from state.user import UserState
from state.windows import MAX_WINDOW, NEVER, SCALES, TallySpec, total_at
from streams.steps.intervals import Bounds, Interval, compile_bounds
from streams.wire.times import to_iso

Evaluate = Callable[[UserState, float], float]

MAX_NUMBER: Final = 1e15
"""Larger constants are refused: every count stays below, and products of them stay finite."""
ABSENT_WITHIN: Final = "7d"
"""Up to when an absence counts after its trigger, unless it says."""
_OPTIONS: Final = {
    "count": ("within", "category"),
    "total": ("within", "category"),
    "absent": ("after", "wait", "within", "category", "after_category"),
}
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}
_DURATION: Final = re.compile(r"(\d+)\s*([smhdw])")
_BINARY: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / b if b else 0.0,
}
_COMPARE: Final[dict[type[ast.cmpop], Callable[[float, float], bool]]] = {
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


_SIGNS: Final[dict[type[ast.cmpop], str]] = {
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Eq: "==",
    ast.NotEq: "!=",
}
_OPPOSITE: Final = {">": "<=", ">=": "<", "<": ">=", "<=": ">", "==": "!=", "!=": "=="}


class RuleError(ValueError):
    """The rule cannot be understood; the message says where."""


def duration(text: str) -> int:
    """``30m``, ``24h``, ``7d``, ``2w`` or ``1d 12h`` to seconds; at most ten years. Raises ValueError."""
    parts = _DURATION.findall(text)
    if not parts or _DURATION.sub("", text).strip():
        raise ValueError(f"{text!r} is not a duration such as '30m', '24h' or '7d'")
    if any(len(number) > 12 for number, _ in parts):
        raise ValueError(f"{text[:40]!r} is too long a duration")
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if seconds > MAX_WINDOW:
        raise ValueError(f"{text!r} is longer than {MAX_WINDOW // 86_400} days")
    return seconds


@dataclass(frozen=True)
class Rule:
    """A checked rule."""

    text: str
    evaluate: Evaluate
    """(state, now) → above 0 when the rule holds, of a user of whom all is known."""
    bounds: Bounds
    """(state, now) → the least and the most that it may give, of any user."""
    terms: tuple[tuple[str, Evaluate, Bounds], ...]
    """Each count, total or absence as written, for explanations."""
    specs: frozenset[TallySpec]
    rising: frozenset[TallySpec]
    """Tallies whose running out can make the rule true; others can only make it false."""
    absences: frozenset[Absence] = frozenset()
    """An event or the passing of time can begin and end each of these."""
    condition: bool = False
    """The rule is true or false (scores 1 and 0), not a number of its own."""
    needs: tuple[Need, ...] = ()
    """Comparisons that all must hold for the rule to give anything above 0; others may as well."""

    @property
    def asks(self) -> Terms:
        return Terms(self.specs, frozenset(sort for absence in self.absences for sort in (absence.of, absence.after)))

    def values(self, state: UserState, now: float) -> dict[str, float]:
        return {text: term(state, now) for text, term, _ in self.terms}

    def told(self, state: UserState, now: float) -> str:
        """The values in words; of what is not known, that and since when it is."""
        return ", ".join(
            f"{text} is {_value_told(term(state, now), bounds(state, now))}" for text, term, bounds in self.terms
        ) + self._unknown_told(state, now)

    def _unknown_told(self, state: UserState, now: float) -> str:
        if state.known_at == NEVER:
            return ""
        untils = [state.unknown[spec.key] for spec in self.specs if is_unknown(state, spec, now)]
        untils += [
            -state.last[sort.key]
            for absence in self.absences
            if len(set(absence.bounds(state.last, now))) > 1
            for sort in (absence.of, absence.after)
            if state.last.get(sort.key, 0.0) < 0.0
        ]
        return f" (not known yet before {to_iso(max(untils))})" if untils else ""


def _value_told(value: float, bounds: Interval) -> str:
    low, high = bounds
    return f"{value:g}" if low == high else f"at least {low:g}" if high == math.inf else "not known"


def parse_rule(text: str, kinds: tuple[str, ...]) -> Rule:
    """Check and compile a rule. Raises RuleError."""
    line = text.replace("\n", " ").replace("\r", " ").replace("\t", " ")
    written = line.lstrip(" ")
    compiler = _Compiler(text, kinds, written, len(line) - len(written))
    try:
        tree = ast.parse(written, mode="eval")
        evaluate = compiler.build(tree.body)
    except SyntaxError as error:
        column = compiler.skipped + (error.offset or len(written) + 1)  # 0: the end came too early
        raise RuleError(f"the rule {text!r} is not an expression: {error.msg} at column {column}") from None
    except (RecursionError, MemoryError):
        raise RuleError(f"the rule {text[:40]!r}… is nested too deeply, at column {compiler.skipped + 1}") from None
    except RuleError:
        raise
    except ValueError as error:  # what the parser does not take at all, such as a NUL
        raise RuleError(f"the rule {text[:200]!r} is not an expression: {error}") from None
    if not compiler.terms:
        raise RuleError(f"the rule {text!r} counts nothing")
    return Rule(
        text,
        evaluate,
        compile_bounds(tree.body, compiler.bounds),
        tuple((written, term, compiler.bounds[call]) for written, (term, call) in compiler.terms.items()),
        frozenset(compiler.specs),
        frozenset(compiler.rising),
        frozenset(compiler.absences),
        _is_condition(tree.body),
        tuple(compiler.needs(tree.body)),
    )


def _is_condition(node: ast.expr) -> bool:
    """Whether it gives 1 or 0 and no other number."""
    match node:
        case ast.BoolOp() | ast.Compare() | ast.UnaryOp(op=ast.Not()) | ast.Call(func=ast.Name(id="absent")):
            return True
    return False


def _constant(node: ast.expr) -> float | None:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)):
            return -float(number)
    return None


class _Compiler:
    def __init__(self, text: str, kinds: tuple[str, ...], written: str, skipped: int) -> None:
        """``written`` is what is parsed: ``text`` in one line, without the ``skipped`` blanks before it."""
        self.text = text
        self.kinds = kinds
        self.written = written.encode()
        self.skipped = skipped
        self.terms: dict[str, tuple[Evaluate, ast.expr]] = {}
        self.bounds: dict[ast.expr, Bounds] = {}
        self.specs: set[TallySpec] = set()
        self.rising: set[TallySpec] = set()
        self.absences: set[Absence] = set()
        self._tallies: dict[ast.expr, TallySpec] = {}
        self._falling = 0  # depth of nodes that may grow when a count falls

    def fail(self, node: ast.expr, why: str) -> RuleError:
        before = self.written[: node.col_offset].decode()  # the parser counts bytes
        return RuleError(f"in the rule {self.text!r} at column {self.skipped + len(before) + 1}: {why}")

    def build(self, node: ast.expr) -> Evaluate:
        match node:
            case ast.BoolOp():
                return self._bool(node)
            case ast.UnaryOp(op=ast.Not()):
                inner = self._inverse(node.operand)
                return lambda state, now: 0.0 if inner(state, now) > 0.0 else 1.0
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as number)) if not isinstance(
                number, bool
            ):
                negative = -self._number(node, number)
                return lambda _state, _now: negative
            case ast.BinOp():
                return self._binary(node)
            case ast.Compare():
                return self._compare(node)
            case ast.Call():
                return self._term(node)
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                constant = self._number(node, number)
                return lambda _state, _now: constant
        raise self.fail(node, f"{ast.unparse(node)!r} is not part of the rule language")

    def _number(self, node: ast.expr, number: float) -> float:
        if number > MAX_NUMBER:
            raise self.fail(node, f"numbers are at most {MAX_NUMBER:g}")
        return float(number)

    def _inverse(self, node: ast.expr) -> Evaluate:
        self._falling += 1
        try:
            return self.build(node)
        finally:
            self._falling -= 1

    def _bool(self, node: ast.BoolOp) -> Evaluate:
        parts = [self.build(value) for value in node.values]
        if isinstance(node.op, ast.And):

            def every(state: UserState, now: float) -> float:
                for part in parts:  # evaluated for every event: a plain loop is twice as fast as all(…)
                    if part(state, now) <= 0.0:
                        return 0.0
                return 1.0

            return every

        def some(state: UserState, now: float) -> float:
            for part in parts:
                if part(state, now) > 0.0:
                    return 1.0
            return 0.0

        return some

    def _binary(self, node: ast.BinOp) -> Evaluate:
        combine = _BINARY.get(type(node.op))
        if combine is None:
            raise self.fail(node, "only + - * / can combine numbers")
        plain = isinstance(node.op, ast.Add)
        left, right = (self.build(side) if plain else self._inverse(side) for side in (node.left, node.right))
        return lambda state, now: combine(left(state, now), right(state, now))

    def _compare(self, node: ast.Compare) -> Evaluate:
        if len(node.ops) != 1:
            raise self.fail(node, "write chained comparisons with `and`")
        compare = _COMPARE.get(type(node.ops[0]))
        if compare is None:
            raise self.fail(node, "only > >= < <= == != compare")
        limit = node.comparators[0]
        plain = isinstance(node.ops[0], (ast.Gt, ast.GtE)) and isinstance(limit, ast.Constant)
        left, right = (self.build(side) if plain else self._inverse(side) for side in (node.left, limit))
        if isinstance(limit, ast.Constant):
            bound = right(UserState(), 0.0)
            return lambda state, now: 1.0 if compare(left(state, now), bound) else 0.0
        return lambda state, now: 1.0 if compare(left(state, now), right(state, now)) else 0.0

    def _term(self, node: ast.Call) -> Evaluate:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name not in _OPTIONS:
            known = "count(…), total(…) and absent(…)"
            raise self.fail(node, f"{ast.unparse(node.func)!r} is not known; known are {known}")
        words = [self._string(value) for value in node.args]
        if len(words) != (2 if name == "total" else 1):
            raise self.fail(node, "count and absent take a kind; total takes a kind and a measure")
        if any(key.arg is None for key in node.keywords):
            raise self.fail(node, 'write the options one by one, as in within="7d"')
        options = {key.arg: self._string(key.value) for key in node.keywords if key.arg}
        if unknown := set(options) - set(_OPTIONS[name]):
            *most, final = _OPTIONS[name]
            known = f"{', '.join(most)} and {final}"
            raise self.fail(node, f"{', '.join(sorted(unknown))} is not an option; known are {known}")
        self._check_kind(node, words[0])
        try:
            term = self._absent(node, words[0], options) if name == "absent" else self._tally(node, words, options)
        except RuleError:
            raise
        except ValueError as error:
            raise self.fail(node, str(error)) from None
        self.terms[ast.unparse(node)] = term, node
        return term

    def _check_kind(self, node: ast.Call, kind: str) -> None:
        if kind not in self.kinds:
            raise self.fail(node, f"the kind {kind!r} is not known; known are {', '.join(self.kinds)}")

    def _tally(self, node: ast.Call, words: list[str], options: dict[str, str]) -> Evaluate:
        if "within" not in options:
            raise self.fail(node, 'say the window, as in within="7d"')
        kind, measure = (*words, "count")[:2]
        spec = TallySpec(kind, measure, duration(options["within"]), options.get("category", ""))
        self.specs.add(spec)
        if self._falling:
            self.rising.add(spec)
        self._tallies[node] = spec
        scale = SCALES[measure]

        def value(state: UserState, now: float) -> float:
            return total_at(state.tallies.get(spec.key), spec, now) / scale

        def bounds(state: UserState, now: float) -> Interval:
            low = value(state, now)
            return low, math.inf if is_unknown(state, spec, now) else low

        self.bounds[node] = bounds
        return value

    def needs(self, node: ast.expr, wanted: bool = True) -> Iterator[Need]:
        """Comparisons of one tally with a number that must hold for ``node`` (built before) to be ``wanted``."""
        match node:
            case ast.BoolOp(op=ast.And()) if wanted:
                for value in node.values:
                    yield from self.needs(value)
            case ast.BoolOp(op=ast.Or()) if not wanted:
                for value in node.values:
                    yield from self.needs(value, wanted=False)
            case ast.UnaryOp(op=ast.Not()):
                yield from self.needs(node.operand, not wanted)
            case ast.Compare(ops=[op], comparators=[limit]) if node.left in self._tallies:
                sign = _SIGNS[type(op)]
                bound = _constant(limit)
                comparison = sign if wanted else _OPPOSITE[sign]
                if bound is not None and comparison in COMPARISONS:
                    yield Need(self._tallies[node.left], comparison, bound)

    def _absent(self, node: ast.Call, kind: str, options: dict[str, str]) -> Evaluate:
        if "after" not in options or "wait" not in options:
            raise self.fail(node, 'say after what and from when, as in after="click", wait="30m"')
        self._check_kind(node, options["after"])
        absence = Absence(
            of=Sort(kind, options.get("category", "")),
            after=Sort(options["after"], options.get("after_category", "")),
            wait=duration(options["wait"]),
            within=duration(options.get("within", ABSENT_WITHIN)),
        )
        self.absences.add(absence)
        self.bounds[node] = lambda state, now: absence.bounds(state.last, now)
        return lambda state, now: 1.0 if absence.holds(state.last, now) else 0.0

    def _string(self, node: ast.expr) -> str:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return node.value
        raise self.fail(node, f"{ast.unparse(node)} must be text in quotes")
