"""Whether each published change of a rule was true when it was published, by all events that had arrived by then.

A user's home partition has the events in one order, so the state that led to a change is a prefix of them. An ``event``
change names the last event of its prefix. A timer's prefix has at least what had arrived when it was due, and nothing
that arrived after the change was made. Events that came by another partition joined at some time after their arrival,
within ``JOINED`` seconds: with any such set the change counts as true. So a spurious entry is found even if its exit
follows at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.verifier.recount import Happened, Recount
from tests.verifier.rules import Evidence, Rule, Sums, Term, terms_of

#: seconds by which the clocks of producers, broker and workers may differ, and a broker's commit may take
SLACK = 1.5
#: seconds behind the partition's own time within which an event of another partition has joined, whatever died
JOINED = 300.0
Terms = Mapping[str, Sequence[tuple[str, Term]]]
"""Kind → the tallies that it adds to, each with its key."""


@dataclass
class _Facts:
    """What some events add up to."""

    buckets: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    latest: dict[tuple[str, str], float] = field(default_factory=dict)

    def add(self, event: Happened, terms: Terms) -> None:
        for key, term in terms.get(event.kind, ()):
            if term.category in ("", event.category):
                self.buckets[key].add(int(event.time // term.width), event.measured(term))
        for what in ((event.kind, ""), (event.kind, event.category)):
            self.latest[what] = max(event.time, self.latest.get(what, 0.0))

    def take_back(self, event: Happened, terms: Terms, latest: dict[tuple[str, str], float]) -> None:
        """Undo ``add``; ``latest``: as it was before."""
        for key, term in terms.get(event.kind, ()):
            if term.category in ("", event.category):
                self.buckets[key].add(int(event.time // term.width), -event.measured(term))
        self.latest = latest


class Walk:
    """One user's events in the order of the home partition, up to a moment that only moves on."""

    def __init__(self, happened: Sequence[Happened], terms: Terms) -> None:
        self._terms = terms
        home = (event for event in happened if not event.misrouted)
        # what was ahead has its turn when its time comes, and where partitions became more, another one is home since
        self._home = sorted(home, key=lambda event: event.arrived)
        self._strays = sorted((event for event in happened if event.misrouted), key=lambda event: event.arrived)
        self._place = {event.identity: at for at, event in enumerate(self._home)}
        self._facts = _Facts()
        self._at = 0

    def _take(self, until: int) -> None:
        while self._at < until:
            self._facts.add(self._home[self._at], self._terms)
            self._at += 1

    def follow(self, identity: Any) -> bool:
        """The next change was led to by this event: it counts, and so do all before it. False: which those are is not
        known, because it came by another partition."""
        if (place := self._place.get(identity)) is not None:
            self._take(place + 1)
            return True
        for stray in self._strays:
            if stray.identity == identity:
                self._strays.remove(stray)
                self._facts.add(stray, self._terms)
                break
        return False

    def follow_time(self, due: float) -> None:
        """All that had arrived at ``due`` counts."""
        at = self._at
        while at < len(self._home) and self._home[at].arrived <= due - SLACK:
            at += 1
        self._take(at)

    def agrees(self, says: Callable[[Evidence], bool], at: float, made: float) -> bool:
        """Whether the events so far satisfy ``says``, with some of those strays that had arrived when it was made."""
        self._join(at - JOINED)  # in a backlog what is done now is of long ago
        facts, latest = self._facts, dict(self._facts.latest)
        possible = [stray for stray in self._strays if stray.arrived <= made + SLACK]
        tried = 0
        found = says(facts)
        while not found and tried < len(possible):
            facts.add(possible[tried], self._terms)
            tried += 1
            found = says(facts)
        for stray in possible[:tried]:
            facts.take_back(stray, self._terms, latest)
        return found

    def agrees_later(self, says: Callable[[Evidence], bool], at: float, made: float) -> bool:
        """As ``agrees``, now or after some more events that had arrived when it was ``made``."""
        while not self.agrees(says, at, made):
            if self._at == len(self._home) or self._home[self._at].arrived > made + SLACK:
                return False
            self._take(self._at + 1)
        return True

    def _join(self, until: float) -> None:
        """What had arrived elsewhere by ``until`` is here."""
        while self._strays and self._strays[0].arrived <= until:
            self._facts.add(self._strays.pop(0), self._terms)


class Truth:
    """Takes all changes, those of a user in order of their sequence; ``report`` is told the untrue ones."""

    def __init__(self, counted: Recount, rules: Sequence[Rule], report: Callable[[str], None]) -> None:
        """``rules``: every version of every rule that was ever in force."""
        self._counted = counted
        self._rules = {rule.text(): rule for rule in rules}
        self._ids = {rule.id for rule in rules}
        terms: dict[str, list[tuple[str, Term]]] = defaultdict(list)
        for key, term in terms_of(rules).items():
            terms[term.kind].append((key, term))
        self._terms = terms
        self._report = report
        self._walks: dict[str, Walk] = {}
        self.proved = 0
        self.unproved = 0
        """Changes of those who were erased or merged, whose past is not one order of events."""

    def take(self, change: Mapping[str, Any]) -> None:
        """One record of ``segment-changes``."""
        name, segment = change["user"], change["segment"]
        if segment not in self._ids:
            return
        user = self._counted.users.get(name)
        if user is None or name in self._counted.loose or change["origin"] in ("merge", "erasure"):
            self.unproved += 1
            return
        about = f"user {name}: {change['change']} {segment} at sequence {change['sequence']}"
        made, at = change["processed_at"], change["event_time"]
        if at > made + SLACK:
            self._report(f"{about} is of {at - made:.1f} s after it was made")
        text = change["reason"].get("rule", "")
        if not text and change["origin"] == "definition" and change["change"] == "exited":
            return  # the segment is not defined any more
        rule = self._rules.get(text)
        if rule is None or rule.id != segment:
            self._report(f"{about} has a rule that was never in force: {text!r}")
            return
        walk = self._walks.get(name)
        if walk is None:
            walk = self._walks[name] = Walk(user.happened, self._terms)
        self.proved += 1
        if not self._is_true(walk, change, rule):
            self._report(f"{about} is untrue at {at} by what had arrived ({change['origin']}: {text})")

    def _is_true(self, walk: Walk, change: Mapping[str, Any], rule: Rule) -> bool:
        entered: bool = change["change"] == "entered"
        at, made = change["event_time"], change["processed_at"]

        def says(user: Evidence) -> bool:
            return rule.holds(user, at) == entered

        if change["origin"] in ("event", "replay") and change["reason"].get("event"):
            if walk.follow(change["reason"]["event"]):
                return walk.agrees(says, at, made)
        elif change["origin"] != "definition":
            walk.follow_time(at)
        return walk.agrees_later(says, at, made)
