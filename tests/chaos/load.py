"""Seeded load: what several producers send, with duplicates, late events, garbage and misrouted records."""

from __future__ import annotations

import json
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from tests.verifier import Absent, Rule, Term

SHORT, MIDDLE, LONG = 20, 120, 7 * 86_400
#: rules over windows that run out during a campaign and over one that does not
RULES = (
    Rule("busy", (Term("click", SHORT, 3),)),
    Rule("lookers", (Term("view", MIDDLE, 4), Term("purchase", MIDDLE, 1, negated=True))),
    Rule("spenders", (Term("purchase", LONG, 300.0, "amount"),)),
    Rule("readers", (Term("view", SHORT, 20.0, "dwell"), Term("view", LONG, 5, category="news"))),
    Rule("abandoned", (Absent("purchase", "click", 5, 60),)),
    Rule("silent-buyers", (Term("purchase", LONG, 2), Term("click", SHORT, 1, negated=True))),
)
#: what other versions of the definitions say: other bounds, windows, waits; rules that are missing; rules that hold for
#: those who did *not* do something, of whom all must be known
OTHER_RULES = (
    (
        Rule("busy", (Term("click", 2 * SHORT, 4),)),
        *RULES[2:4],
        Rule("abandoned", (Absent("purchase", "click", 8, 60),)),
        Rule("clickers", (Term("click", MIDDLE, 6),)),
        Rule("never-bought", (Term("view", SHORT, 1), Term("purchase", LONG // 7 * 30, 1, negated=True))),
    ),
    (
        *RULES[:2],
        Rule("spenders", (Term("purchase", LONG, 200.0, "amount"),)),
        Rule("first-buyers", (Term("purchase", 2 * LONG, 1), Term("purchase", 2 * LONG, 2, negated=True))),
        Rule("left-alone", (Absent("view", "purchase", 10, 120),)),
        *RULES[5:],
    ),
)
LEARNED = "taste"
#: besides the rules: a description in words and a learned group, so that all lanes run
OTHERS = f"""
[[segment]]
id = "cooks"
words = "people who love cooking and restaurants"

[[group]]
id = "{LEARNED}"
min_labels = 20

[[segment]]
id = "taste-food"
learned = "{LEARNED}"

[[segment]]
id = "taste-sport"
learned = "{LEARNED}"
"""
KINDS = ("click", "view", "purchase", "comment", "follow", "unfollow", "join", "leave")
WEIGHTS = (500, 380, 90, 4, 8, 2, 4, 2)
CATEGORIES = ("news", "shoes", "food", "sport", "")
TEXTS = (
    "I love to cook pasta with fresh basil",
    "My sourdough bread recipe finally worked",
    "The match last night went to penalties",
    "The parliament voted on the tax bill",
)


def definitions(rules: Sequence[Rule] = RULES) -> str:
    """A segments file."""
    return "\n".join(rule.definition() for rule in rules) + OTHERS


@dataclass(frozen=True)
class Sent:
    """A record for ``user-events`` or, if ``label``, for ``segment-labels``. ``misrouted``: by another partitioner."""

    key: bytes
    value: bytes
    label: bool = False
    misrouted: bool = False


def load(
    seed: int, users: int, clock: Callable[[], float] = time.time, name: str = "p", plain: bool = False
) -> Iterator[Sent]:
    """Records without end, made when they are asked for: an event happens now, or, of 10 %, up to six hours before.

    Of all records 10 % are sent twice, 1 % are garbage, 2 % are misrouted. ``name`` makes ids differ between producers.
    The lower a user's number, the more events it has. ``plain``: nobody comments, is erased or identifies.
    """
    draw = random.Random(f"{seed}/{name}")
    recent: deque[Sent] = deque(maxlen=500)
    stories: list[Iterator[dict[str, Any]]] = []
    number = 0
    while True:
        if recent and draw.random() < 0.1:
            yield draw.choice(recent)
            continue
        if draw.random() < 0.01:
            yield Sent(_user(draw, users).encode(), garbage(draw, clock()))
            continue
        number += 1
        if draw.random() < 0.004:
            yield _label(draw, _user(draw, users), clock(), f"{name}-{number}")
            continue
        event = _told(draw, stories, name, number, clock) if not plain and draw.random() < 0.02 else None
        if event is None:
            event = _event(draw, users, clock(), plain)
        sent = Sent(
            event["user"].encode(),
            json.dumps(event | {"id": f"{name}-{number}"}).encode(),
            misrouted=draw.random() < 0.02,
        )
        recent.append(sent)
        yield sent


def _user(draw: random.Random, users: int) -> str:
    at = draw.random()
    return f"u{int(users * at * at)}"


def _event(draw: random.Random, users: int, now: float, plain: bool) -> dict[str, Any]:
    user = _user(draw, users)
    kind = draw.choices(KINDS, WEIGHTS)[0]
    if kind == "comment" and plain:
        kind = "click"
    event: dict[str, Any] = {"user": user, "kind": kind, "time": now}
    if draw.random() < 0.1:
        event["time"] = now - draw.random() * 6 * 3_600.0
    if kind == "comment":
        event["text"] = draw.choice(TEXTS)
    elif kind in ("follow", "unfollow"):
        event["target"] = f"u{draw.randrange(min(users, 40))}"
        if event["target"] == user:
            event["target"] = "u-nobody"
    elif kind in ("join", "leave"):
        event["group"] = f"g{draw.randrange(10)}"
    else:
        event["category"] = draw.choice(CATEGORIES)
        if kind == "purchase":
            event["amount"] = draw.randrange(1, 20_000) / 100.0
        if kind == "view":
            event["dwell"] = draw.randrange(1, 20_000) / 1_000.0
    return event


def _told(
    draw: random.Random, stories: list[Iterator[dict[str, Any]]], name: str, number: int, clock: Callable[[], float]
) -> dict[str, Any] | None:
    """The next event of one of some users who will be erased or identify; None where such a story ends."""
    if len(stories) < 10:
        tell = draw.choice((_erased, _identified))
        stories.append(tell(draw, f"{name}-{number}", clock))
    story = draw.choice(stories)
    event = next(story, None)
    if event is None:
        stories.remove(story)
    return event


def _sorts(user: str) -> list[dict[str, Any]]:
    return [
        {"user": user, "kind": "click"},
        {"user": user, "kind": "purchase", "amount": 400.0},
        {"user": user, "kind": "view", "category": "news", "dwell": 7.5},
        {"user": user, "kind": "comment", "text": TEXTS[0]},
        {"user": user, "kind": "follow", "target": "u3"},
        {"user": user, "kind": "join", "group": "g1"},
    ]


def _identified(draw: random.Random, name: str, clock: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """Somebody comes now with an anonymous id and now with a known one, and tells once that both are the same."""
    anonymous, known, began = f"a-{name}", f"m-{name}", clock()
    sorts = [*_sorts(anonymous), *_sorts(known)]
    for part in range(2):
        for _ in range(draw.randint(2, 8)):
            yield draw.choice(sorts) | {"time": clock() if draw.random() < 0.8 else began}
        if part == 0:
            yield {"user": known, "kind": "identify", "target": anonymous, "time": clock()}


def _erased(draw: random.Random, name: str, clock: Callable[[], float]) -> Iterator[dict[str, Any]]:
    """Some events of all sorts, the delete, and what comes too late to count."""
    user, began = f"e-{name}", clock()
    sorts = [*_sorts(user), {"user": "u5", "kind": "follow", "target": user}]
    for _ in range(draw.randint(4, 10)):
        yield draw.choice(sorts) | {"time": clock()}
    yield {"user": user, "kind": "delete", "time": clock()}
    for _ in range(draw.randint(0, 3)):
        yield draw.choice(sorts) | {"time": began}


def _label(draw: random.Random, user: str, now: float, label_id: str) -> Sent:
    label = {"user": user, "segment": draw.choice(("taste-food", "taste-sport")), "member": draw.random() < 0.6}
    return Sent(user.encode(), json.dumps(label | {"time": now, "id": f"l-{label_id}"}).encode(), label=True)


def garbage(draw: random.Random, now: float) -> bytes:
    """What no event can be made of, in one of several ways."""
    good = {"user": "u1", "kind": "click", "time": now, "id": f"bad-{draw.random()}"}
    without = draw.choice(("user", "kind", "time"))
    return draw.choice(
        (
            b"",
            b"GET / HTTP/1.1",
            json.dumps(good).encode()[:-9],
            json.dumps({name: value for name, value in good.items() if name != without}).encode(),
            json.dumps(good | {"kind": "klick"}).encode(),
            json.dumps(good | {"kind": "purchase", "amount": -1.0}).encode(),
            json.dumps(good | {"user": 7}).encode(),
            json.dumps(good | {"time": 4_000_000_000}).encode(),
            json.dumps(good | {"kind": "follow", "target": "u1"}).encode(),
        )
    )
