"""Segment definitions: a rule, a description in words, or a learned head; and the plan compiled from all of them."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, reduce
from importlib.resources import files
from operator import or_
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import xxhash

from state.absence import Absence, Watch
from state.layout2 import mark_of
from state.native import Calls, QuietFold, quiet_fold
from state.plan_image import MOST, MOST_TERMS, Described, Native, Route, Ruled, term_numbers
from state.unknown import NO_TERMS, Terms
from state.user import PLAIN_KINDS
from state.windows import TallyPlan
from streams.rules.compile import Rule, RuleError, parse_rule
from streams.rules.durations import duration
from streams.rules.program import MOST_NUMBER, write
from streams.wire import segment_spec
from streams.wire.events import KINDS, Event

#: what the compiled part is told of calls of the Segment Spec
CALLS: Final = Calls(
    fields=segment_spec.Message.__struct_encode_fields__,
    kinds=segment_spec.CALLS,
    tracks=segment_spec.TRACK,
    items=segment_spec.ITEM,
    categories=segment_spec.CATEGORY,
    amounts=segment_spec.AMOUNT,
    dwells=segment_spec.DWELL,
)


class DefinitionError(ValueError):
    """The segments file cannot be used; the message says which definition and why."""


class SegmentDef(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One definition as written. Exactly one of ``rule``, ``words``, ``learned`` says how members are found."""

    id: str
    title: str = ""
    rule: str = ""
    words: str = ""
    learned: str = ""
    """Group of segments that are labelled together; one head serves it."""
    enter: float | None = None
    exit: float | None = None
    min_stay: str = "0s"
    version: int = 1


class GroupDef(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A group of learned segments."""

    id: str
    exclusive: bool = True
    """A user is in one of the group's segments at most."""
    head: str = "rls"
    min_labels: int = 50
    """No membership is decided before the head has seen that many labels."""


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    segment: list[SegmentDef] = []
    group: list[GroupDef] = []


#: what every reader of JSON can say exactly, and a membership in a record
MOST_VERSION: Final = 2**53
#: instead of a file: the definitions of the demo (a file of that name is ``./demo``)
DEMO = Path("demo")

#: kind → (enter, exit) when a definition names none. Words: cosine of MiniLM vectors; learned: probability.
DEFAULT_THRESHOLDS = {"rule": (1.0, 1.0), "words": (0.30, 0.25), "learned": (0.60, 0.40)}


@dataclass(frozen=True)
class Segment:
    """A checked definition."""

    id: str
    kind: str
    """rule, words or learned"""
    text: str
    enter: float
    exit: float
    min_stay: float
    """Seconds."""
    version: int
    title: str
    rule: Rule | None = None
    group: str = ""


class ToldRule(NamedTuple):
    """A rule segment, and how it is told that its rule begins to hold."""

    segment: str
    version: int
    text: str
    written: tuple[str, ...]
    pattern: str
    """``Rule.pattern``."""
    places: tuple[int, ...] | None
    """Where each of ``written`` has its value among those of the rule's different terms by their numbers; None: in
    order."""


class Plan:
    """All definitions, compiled: what to count and what an event can change."""

    def __init__(
        self,
        segments: list[Segment],
        groups: dict[str, GroupDef],
        definitions: list[SegmentDef],
        kept: Terms = NO_TERMS,
    ) -> None:
        """``kept``: terms that no definition asks for any more, but that are counted for some time yet."""
        self.segments = {segment.id: segment for segment in segments}
        self.groups = groups
        self.definitions = definitions
        self.rules = tuple(segment for segment in segments if segment.kind == "rule")
        self.words = tuple(segment for segment in segments if segment.kind == "words")
        self.learned = {
            group: tuple(segment for segment in segments if segment.group == group) for group in sorted(groups)
        }
        rules = [segment.rule for segment in self.rules if segment.rule]
        self.asks = asked = reduce(or_, (rule.asks for rule in rules), NO_TERMS)
        counted = asked | kept
        self.asked = asked.keys
        """Keys of the terms that the definitions ask for."""
        self.counted = counted.keys
        """Of those, and of what is still counted besides."""
        self.marks = frozenset(map(mark_of, counted.keys))
        """Of the cells of these."""
        self.tallies = TallyPlan(counted.specs)
        self.specs = tuple(self.tallies.specs.values())
        self.terms = frozenset(term for rule in rules for term in rule.terms)
        natives = {term.native for term in self.terms}
        self.absences = tuple(native for native in natives if isinstance(native, Absence))
        self.others = tuple(term for term in self.terms if term.native is None)
        """Terms of which Python alone knows what is known of them."""
        self.watch = Watch(counted.sorts)
        self.shortest_window = min((term.soonest for term in self.terms), default=0.0)
        """Nothing that an event adds changes anything by the mere passing of time sooner than this (seconds)."""
        self.needs_vectors = bool(groups)
        self.may_rise = any(rule.begins_by for rule in rules)
        self._categories = {spec.category for spec in self.tallies.specs.values() if spec.category}
        self._categories |= self.watch.categories
        self._affected: dict[tuple[str, str], tuple[tuple[Segment, bool], ...]] = {}
        self.quiet = self._quiet()
        """Folds events that cannot change a membership; None where that is not compiled."""

    def still(self, segment_id: str, reason: Mapping[str, Any]) -> bool:
        """Whether the rule or description that a published reason names is still that of the segment."""
        segment = self.segments.get(segment_id)
        told = reason.get("rule") or reason.get("words")
        return segment is not None and (not told or told == segment.text)

    @cached_property
    def fingerprint(self) -> int:
        """The same definitions have the same number (53 bits)."""
        data = msgspec.json.encode([self.definitions, sorted(self.groups.values(), key=lambda group: group.id)])
        return xxhash.xxh3_64_intdigest(data) >> 11

    def is_exclusive(self, group: str) -> bool:
        """A user is in one segment of the group at most; "" is no group."""
        return group in self.groups and self.groups[group].exclusive

    def affected(self, kind: str, category: str) -> tuple[tuple[Segment, bool], ...]:
        """Rule segments that an event of ``kind`` in ``category`` concerns, each with whether that can end it.

        An event only raises most terms, so a rule that holds can fail by it only through one that it *begins by*.
        """
        at = (kind, category if category in self._categories else "")
        found = self._affected.get(at)
        if found is None:
            found = self._affected[at] = tuple(self._find_affected(*at))
        return found

    def _find_affected(self, kind: str, category: str) -> Iterator[tuple[Segment, bool]]:
        for segment in self.rules:
            rule = segment.rule
            assert rule is not None
            touched = {term for term in rule.terms if any(cell.covers(kind, category) for cell in term.cells)}
            if touched:
                yield segment, not touched.isdisjoint(rule.begins_by)

    def _quiet(self) -> QuietFold | None:
        if self.others:
            return None  # what the compiled part does not know, it can neither count nor wait for
        return quiet_fold(Event, CALLS, self.described)

    @cached_property
    def told(self) -> tuple[ToldRule, ...]:
        """How each rule's memberships are told that the compiled part began, by its number there."""
        numbers = term_numbers(self.described)
        return tuple(_told_rule(segment, segment.rule, numbers) for segment in self.rules if segment.rule)

    @property
    def described(self) -> Described:
        """All of it, for the compiled part."""
        return Described(
            routes=tuple(
                self._route(kind, category)
                for kind in sorted(PLAIN_KINDS)
                for category in ("", *sorted(self._categories))
            ),
            rules=tuple(_ruled(segment, segment.rule) for segment in self.rules if segment.rule),
            stays={segment.id: segment.min_stay for segment in self.segments.values()},
            may_rise=self.may_rise,
        )

    def _route(self, kind: str, category: str) -> Route:
        return Route(
            kind,
            category,
            self.tallies.touched(kind, category),
            self.watch.touched(kind, category),
            tuple((segment.id, can_end) for segment, can_end in self.affected(kind, category)),
        )


def _ruled(segment: Segment, rule: Rule) -> Ruled:
    return Ruled(
        segment.id,
        segment.enter,
        segment.exit,
        write(rule.program),
        tuple(term.native for term in rule.terms if term.native is not None),
        tuple(term in rule.begins_by for term in rule.terms),
        segment.version,
    )


def _told_rule(segment: Segment, rule: Rule, numbers: Mapping[Native, int]) -> ToldRule:
    mine = [numbers[term.native] for term in rule.terms if term.native is not None]
    order = {number: place for place, number in enumerate(sorted(set(mine)))}
    places = tuple(order[number] for number in mine)
    in_order = places == tuple(range(len(places)))
    return ToldRule(segment.id, segment.version, segment.text, rule.written, rule.pattern, None if in_order else places)


def load_plan(path: Path) -> Plan:
    """Read a TOML file of definitions; ``DEMO`` is the built-in set. Raises DefinitionError."""
    if path == DEMO:
        text, name = files("streams.tools").joinpath("segments.toml").read_text("utf-8"), "the built-in definitions"
    else:
        name = str(path)
        try:
            text = path.read_text("utf-8")
        except OSError as error:
            raise DefinitionError(f"cannot read the segments file {path}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise DefinitionError(f"{name} is not UTF-8 text: {error.reason} at byte {error.start}") from None
    return parse_plan(text, name)


def parse_plan(text: str, name: str = "the segments file", kept: Terms = NO_TERMS) -> Plan:
    """Check and compile definitions in TOML. Raises DefinitionError."""
    try:
        content = msgspec.convert(tomllib.loads(text), _File)
    except tomllib.TOMLDecodeError as error:
        raise DefinitionError(f"{name} is not TOML: {error}") from None
    except msgspec.ValidationError as error:
        raise DefinitionError(f"{name}: {error}") from None
    return make_plan(content.segment, content.group, name, kept)


def make_plan(
    definitions: list[SegmentDef], group_definitions: list[GroupDef], name: str, kept: Terms = NO_TERMS
) -> Plan:
    """Check and compile definitions. Raises DefinitionError; ``name`` says in it where they come from."""
    groups: dict[str, GroupDef] = {}
    for group in group_definitions:
        if not group.id or group.id in groups:
            why = "is defined twice" if group.id else "needs an id"
            raise DefinitionError(f"{name}: the group {group.id!r} {why}")
        groups[group.id] = group
    for definition in definitions:
        if definition.learned and definition.learned not in groups:
            groups[definition.learned] = GroupDef(definition.learned)
    seen: set[str] = set()
    segments = []
    for definition in definitions:
        if definition.id in seen:
            raise DefinitionError(f"{name}: the segment {definition.id!r} is defined twice")
        seen.add(definition.id)
        try:
            segments.append(_check(definition))
        except (RuleError, ValueError) as error:
            raise DefinitionError(f"{name}: segment {definition.id!r}: {error}") from None
    _check_size(segments, kept, name)
    return Plan(segments, groups, definitions, kept)


def _check_size(segments: list[Segment], kept: Terms, name: str) -> None:
    """What the compiled part has room for is what there may be, compiled or not. Raises DefinitionError."""
    rules = [segment.rule for segment in segments if segment.rule]
    terms = {term for rule in rules for term in rule.terms}
    keys = {key for rule in rules for key in rule.asks.keys}
    also = " (with what earlier versions asked for: that is counted for some days yet)" if kept.keys - keys else ""
    keys |= kept.keys
    for count, most, what, less in (
        (len(segments), MOST, "segments", "use fewer, or a second installation"),
        (len(terms), MOST_TERMS, "different terms", "let rules share windows and waits"),
        (len(keys), MOST, f"different counts and times{also}", "let rules share kinds, categories and windows"),
    ):
        if count > most:
            raise DefinitionError(f"{name}: {count:,} {what} are more than the {most:,} that are possible; {less}")
    if len(set(map(mark_of, keys))) < len(keys):
        raise DefinitionError(f"{name}: two terms have the same mark: write one of them with another window")


def _check(definition: SegmentDef) -> Segment:
    if not definition.id or len(definition.id) > 200:
        raise ValueError("the id must have 1 to 200 characters")
    ways = {"rule": definition.rule, "words": definition.words, "learned": definition.learned}
    given = [(kind, text) for kind, text in ways.items() if text]
    if len(given) != 1:
        raise ValueError("give exactly one of rule, words and learned")
    kind, text = given[0]
    enter, leave = DEFAULT_THRESHOLDS[kind]
    if definition.enter is not None:
        enter = definition.enter
        leave = min(leave, enter)
    if definition.exit is not None:
        leave = definition.exit
    if not (math.isfinite(enter) and math.isfinite(leave)):
        raise ValueError(f"enter ({enter:g}) and exit ({leave:g}) must be numbers")
    if max(abs(enter), abs(leave)) > MOST_NUMBER:
        raise ValueError(f"enter ({enter:g}) and exit ({leave:g}) must be within {-MOST_NUMBER:g} and {MOST_NUMBER:g}")
    if not 0 <= definition.version <= MOST_VERSION:
        raise ValueError(f"version must be from 0 to {MOST_VERSION}")
    if leave > enter:
        raise ValueError(f"exit ({leave:g}) is above enter ({enter:g}): users would flap")
    rule = parse_rule(text, KINDS) if kind == "rule" else None
    _check_reach(enter, leave, rule)
    try:
        min_stay = float(duration(definition.min_stay))
    except ValueError as error:
        raise ValueError(f"min_stay: {error}") from None
    return Segment(
        id=definition.id,
        kind=kind,
        text=text,
        enter=enter,
        exit=leave,
        min_stay=min_stay,
        version=definition.version,
        title=definition.title or definition.id,
        rule=rule,
        group=definition.learned,
    )


def _check_reach(enter: float, leave: float, rule: Rule | None) -> None:
    """Thresholds that no score can get above or below are a mistake."""
    if rule is not None and not rule.condition:
        return
    if enter > 1.0:
        raise ValueError(f"enter ({enter:g}) is above 1: no score gets there, so nobody would enter")
    if rule is not None and leave <= 0.0:
        raise ValueError(f"exit ({leave:g}) must be above 0, the score of a rule that holds no longer")
