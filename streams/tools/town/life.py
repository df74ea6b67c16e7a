"""What people do with their chances: the town's graph, groups and anonymous visits as they grow."""

from __future__ import annotations

from typing import Final

from streams.tools.town.draws import ITEMS_PER_CATEGORY, Draw
from streams.tools.town.people import CATEGORIES, GROUPS, GROUPS_PER_TASTE, TASTES, People
from streams.tools.town.texts import comment
from streams.wire.events import Event, Label

#: kinds by their index in a draw, with their shares among the events; the index after the last is a label
MIX: Final = {
    "view": 0.45,
    "click": 0.33,
    "purchase": 0.07,
    "comment": 0.08,
    "follow": 0.04,
    "unfollow": 0.008,
    "join": 0.01,
    "leave": 0.005,
    "identify": 0.007,
}
_VIEW, _CLICK, _PURCHASE, _COMMENT, _FOLLOW, _UNFOLLOW, _JOIN, _LEAVE, _IDENTIFY = range(len(MIX))
_SMALL_TALK_SHARE: Final = 0.2  # of the comments
_ALIKE_SHARE: Final = 0.8  # of the follows
_MEMBER_SHARE: Final = 0.7  # of the labels
_TRIES: Final = 12  # candidates looked at before a follow is given up

_ITEMS: Final = tuple(f"{category}-{number}" for category in CATEGORIES for number in range(ITEMS_PER_CATEGORY))
_CATEGORY_OF_ITEM: Final = tuple(category for category in CATEGORIES for _ in range(ITEMS_PER_CATEGORY))
_GROUPS: Final = tuple(GROUPS)


class Life:
    """The social state of one walk through a plan. A deed that is not possible (nobody left to follow, no group to
    leave) becomes a view, so that every draw gives one record."""

    def __init__(self, people: People, seed: int) -> None:
        self._people = people
        self._prefix = f"t{seed}-"
        self._followees: list[dict[int, None]] = [{} for _ in people.users]  # a dict is an ordered set
        self._groups: list[dict[int, None]] = [{} for _ in people.users]
        self._visits = [0] * len(people.users)

    def live(self, draw: Draw, i: int) -> Event | Label:
        """The record number ``i`` that this draw becomes."""
        kind, person, time, _, taste, item, dwell, amount, u, _, number = draw
        user = self._people.users[person]
        event_id = f"{self._prefix}{i}"
        if kind == _CLICK:
            return Event(user, "click", time, event_id, _ITEMS[item], _CATEGORY_OF_ITEM[item], 0.0, dwell)
        if kind == _PURCHASE:
            return Event(user, "purchase", time, event_id, _ITEMS[item], _CATEGORY_OF_ITEM[item], amount)
        if kind == _COMMENT:
            if u < _SMALL_TALK_SHARE:
                return Event(user, "comment", time, event_id, text=comment(None, number))
            text = comment(TASTES[taste], number)
            return Event(user, "comment", time, event_id, _ITEMS[item], _CATEGORY_OF_ITEM[item], text=text)
        if kind > _COMMENT:
            rare = self._rare(draw, user, event_id)
            if rare is not None:
                return rare
        return Event(user, "view", time, event_id, _ITEMS[item], _CATEGORY_OF_ITEM[item], 0.0, dwell)

    def _rare(self, draw: Draw, user: str, event_id: str) -> Event | Label | None:
        person, time = draw.person, draw.time
        if draw.kind == _FOLLOW:
            other = self._follow(draw)
            return None if other is None else Event(user, "follow", time, event_id, target=other)
        if draw.kind == _UNFOLLOW:
            other = self._unfollow(draw)
            return None if other is None else Event(user, "unfollow", time, event_id, target=other)
        groups = self._groups[person]
        if draw.kind == _JOIN:
            group = draw.taste * GROUPS_PER_TASTE + int(draw.u * GROUPS_PER_TASTE)
            if group in groups:
                return None
            groups[group] = None
            return Event(user, "join", time, event_id, group=_GROUPS[group])
        if draw.kind == _LEAVE:
            if not groups:
                return None
            group = list(groups)[int(draw.u * len(groups))]
            del groups[group]
            return Event(user, "leave", time, event_id, group=_GROUPS[group])
        if draw.kind == _IDENTIFY:
            self._visits[person] += 1
            return Event(user, "identify", time, event_id, target=f"anon-{user}-{self._visits[person]}")
        return self._label(draw, user, event_id)

    def _label(self, draw: Draw, user: str, event_id: str) -> Label:
        """The main taste as a member, or any other as none."""
        taste = int(self._people.main[draw.phase, draw.person])
        member = draw.u < _MEMBER_SHARE
        if not member:
            taste = (taste + 1 + int(draw.v * (len(TASTES) - 1))) % len(TASTES)
        return Label(user, f"taste-{TASTES[taste]}", member, draw.time, id=event_id)

    def _follow(self, draw: Draw) -> str | None:
        """Mostly somebody of the same main taste, rather an active person than a quiet one."""
        followees = self._followees[draw.person]
        if draw.u < _ALIKE_SHARE:
            pool = self._people.alike[draw.phase][int(self._people.main[draw.phase, draw.person])]
        else:
            pool = self._people.ranked
        first = int(draw.v**2 * len(pool))
        for step in range(min(_TRIES, len(pool))):
            other = pool[(first + step) % len(pool)]
            if other != draw.person and other not in followees:
                followees[other] = None
                return self._people.users[other]
        return None

    def _unfollow(self, draw: Draw) -> str | None:
        """Somebody of another main taste, if there is one among the followees."""
        followees = self._followees[draw.person]
        if not followees:
            return None
        main = self._people.main[draw.phase]
        pool = [other for other in followees if main[other] != main[draw.person]] or list(followees)
        other = pool[int(draw.u * len(pool))]
        del followees[other]
        return self._people.users[other]
