"""Absence against its definition over the raw events, in any order of arrival, whenever timers fire."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from state.windows import TallySpec
from tests.small_partition import T0, SmallPartition


@dataclass(frozen=True)
class Term:
    """An absence as plain data; the oracle below knows nothing of the service's code."""

    of: tuple[str, str]
    after: tuple[str, str]
    wait: float
    within: float

    def written(self) -> str:
        return (
            f'absent("{self.of[0]}", category="{self.of[1]}", after="{self.after[0]}", '
            f'after_category="{self.after[1]}", wait="{self.wait:g}s", within="{self.within:g}s")'
        )

    def holds(self, events: list[dict[str, Any]], now: float) -> bool:
        """By the raw events alone."""
        triggers = [event["time"] for event in events if matches(self.after, event)]
        if not triggers:
            return False
        trigger = max(triggers)
        for event in events:
            itself = event["time"] == trigger and matches(self.of, {"kind": self.after[0], "category": self.after[1]})
            if matches(self.of, event) and event["time"] >= trigger and not itself:
                return False
        return bool(trigger + self.wait <= now < trigger + self.within)


def matches(sort: tuple[str, str], event: dict[str, Any]) -> bool:
    return sort[0] == event["kind"] and sort[1] in ("", event["category"])


TERMS = {
    "cart": Term(("purchase", ""), ("click", ""), 30, 120),
    "shoes": Term(("purchase", "shoes"), ("click", "shoes"), 40, 100),
    "quiet": Term(("click", ""), ("click", ""), 20, 300),
    "once": Term(("view", ""), ("purchase", "shoes"), 0, 50),
}
CLICKS = TallySpec("click", "count", 60)
RULES = {name: term.written() for name, term in TERMS.items()} | {
    "not-cart": f"not {TERMS['cart'].written()}",
    "keen": f'count("click", within="60s") >= 2 and {TERMS["shoes"].written()}',
    "sum": f"{TERMS['cart'].written()} + {TERMS['quiet'].written()} - {TERMS['once'].written()} >= 1",
    "few": f'count("click", within="60s") < 2 * {TERMS["cart"].written()}',
}
DEFINITIONS = "\n".join(f"[[segment]]\nid = \"{name}\"\nrule = '{rule}'" for name, rule in RULES.items())


def expected(events: list[dict[str, Any]], now: float) -> set[str]:
    """Who is in at ``now``, from all events of the user (at or before ``now``); nobody before the first event."""
    if not events:
        return set()
    values = {name: term.holds(events, now) for name, term in TERMS.items()}
    width = CLICKS.width
    clicks = sum(event["kind"] == "click" and (event["time"] // width + 1) * width + 60 > now for event in events)
    values |= {
        "not-cart": not values["cart"],
        "keen": clicks >= 2 and values["shoes"],
        "sum": values["cart"] + values["quiet"] - values["once"] >= 1,
        "few": clicks < 2 * values["cart"],
    }
    return {name for name, holds in values.items() if holds}


EVENTS = st.lists(
    st.tuples(
        st.integers(0, 200) | st.sampled_from([0, 10, 30, 40, 50, 100]),
        st.sampled_from(["click", "purchase", "view"]),
        st.sampled_from(["", "shoes", "hats"]),
    ),
    min_size=1,
    max_size=10,
).map(
    lambda drawn: [
        {"time": T0 + 2.0 * at, "kind": kind, "category": category, "id": f"e{number}"}
        for number, (at, kind, category) in enumerate(drawn)
    ]
)
MOMENTS = st.lists(st.integers(0, 1_500).map(lambda half: T0 + half / 2), max_size=6)


@settings(max_examples=150)
@given(EVENTS, MOMENTS, st.booleans())
def test_memberships_at_any_time_are_what_the_raw_events_say(
    events: list[dict[str, Any]], moments: list[float], restarts: bool
) -> None:
    partition = SmallPartition(DEFINITIONS)
    events = sorted(events, key=lambda event: float(event["time"]))
    done = 0
    for moment in sorted(moments):
        batch = [event for event in events[done:] if event["time"] <= moment]
        done += len(batch)
        partition.events(*batch)
        partition.fire(moment)
        assert partition.members() == expected(events[:done], moment)
        if restarts:
            partition.restart()


@settings(max_examples=150)
@given(st.data(), EVENTS, st.integers(0, 800).map(lambda half: T0 + 400 + half / 2))
def test_any_order_of_arrival_gives_the_same_state_and_memberships(
    data: st.DataObject, events: list[dict[str, Any]], end: float
) -> None:
    ordered, shuffled = SmallPartition(DEFINITIONS), SmallPartition(DEFINITIONS)
    ordered.events(*sorted(events, key=lambda event: float(event["time"])))
    order = data.draw(st.permutations(events))
    cut = data.draw(st.integers(0, len(order)))
    for batch in (order[:cut], order[cut:]):
        if batch:
            shuffled.events(*batch)
    for partition in (ordered, shuffled):
        partition.fire(end)
        assert partition.members() == expected(events, end)
    one, other = ordered.state(), shuffled.state()
    assert one is not None
    assert other is not None
    for sort in ordered.plan.asks.sorts:
        assert one.cells.latest(sort) == other.cells.latest(sort), sort
    assert one.due == other.due
    assert one.cells.total(CLICKS, end) == other.cells.total(CLICKS, end)
