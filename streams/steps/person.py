"""All ids of one person: the newest that were merged into a user are in the user's state, the others in records of
their own, so that neither the state grows nor an id is forgotten that an erasure has to find."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from state import layout
from state.record import Record as State
from state.windows import NEVER
from streams.steps.turn import Turn

#: merged ids in a user's state
MOST_ALIASES: Final = 64


def keep_aliases(turn: Turn, user: str, state: State, more: Iterable[str] = ()) -> None:
    """Put all but the newest merged ids, and ``more``, into records of their own."""
    spare, state.aliases = state.aliases[:-MOST_ALIASES], state.aliases[-MOST_ALIASES:]
    for alias in (*more, *spare):
        _put(turn, user, alias, layout.encode_moment(state.time))


def aliases(turn: Turn, user: str, state: State | None) -> tuple[Sequence[str], list[str]]:
    """The ids that were merged into the user: those in the state, and the older ones."""
    return ([], []) if state is None else (state.aliases, older_aliases(turn, user, state))


def older_aliases(turn: Turn, user: str, state: State) -> list[str]:
    """The merged ids that are not in the state; there are none before the state has as many as it may."""
    return alias_records(turn, user, NEVER) if len(state.aliases) >= MOST_ALIASES else []


def drop_aliases(turn: Turn, user: str, aliases: Iterable[str]) -> None:
    for alias in aliases:
        _put(turn, user, alias, None)


def alias_records(turn: Turn, user: str, until: float) -> list[str]:
    """Merged ids of ``user`` in records of their own that were known by ``until``, in order."""
    prefix = layout.merged_prefix(user)
    keys = list(turn.reader.keys(prefix))
    values = turn.reader.get_many(keys)
    found = {key[len(prefix) :].decode(): value for key, value in zip(keys, values, strict=True)}
    found |= turn.merged.get(user, {})
    return sorted(each for each, value in found.items() if value and layout.decode_moment(value) <= until)


def _put(turn: Turn, user: str, merged: str, value: bytes | None) -> None:
    turn.merged.setdefault(user, {})[merged] = value
    turn.put(layout.merged_key(user, merged), value)
