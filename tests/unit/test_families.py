"""Every family of records, and every number of the position record, has a place when users move to other partitions."""

from __future__ import annotations

import re

import msgspec
import pytest

from state import layout
from state.families import FAMILIES, LOCAL, META
from state.plain.record import PlainRecord
from state.waiting import own_key, waiting_key
from streams.steps.moving import Move, MovingError
from streams.steps.partitioner import partition_of
from tests.small_partition import Memory


def test_every_family_of_the_changelog_has_a_home() -> None:
    rows = re.findall(r"^(\S) {6}.*? *(yes|no|)$", layout.__doc__ or "", re.MULTILINE)
    assert {first.encode() for first, _ in rows} == {*FAMILIES, *LOCAL}
    assert {first.encode() for first, kept in rows if kept == "yes"} == set(FAMILIES)


def test_every_field_of_the_position_record_has_a_rule() -> None:
    assert {field.name for field in msgspec.structs.fields(layout.Meta)} == set(META)


@pytest.mark.parametrize("user", ["u", "ünï-1", "x" * 300, "\0a"])
def test_the_owner_of_a_key_is_the_user_that_it_was_made_for(user: str) -> None:
    keys = [
        layout.user_key(user), layout.vectors_key(user), layout.queue_key(user), layout.alias_key(user),
        *layout.text_keys(user, 0, 2), *layout.seen_keys(user, [0, 300]), layout.merged_key(user, "other"),
        waiting_key(1_700_000_000_000, user, 2**63), own_key(waiting_key(1_700_000_000_000, user, 7)),
    ]  # fmt: skip
    for key in keys:
        family = FAMILIES[key[:1]]
        assert (family.where, family.owner(key)) == ("user", user)
    assert FAMILIES[b"h"].owner(layout.head_key("taste")) == "taste"


def test_records_of_an_unknown_kind_are_not_left_behind_silently() -> None:
    shelves = [Memory(), Memory()]
    shelves[0].data[b"!something"] = b"new"
    with pytest.raises(MovingError, match="use the version that the workers have"):
        Move(shelves, [layout.Meta()], 2).check(begun=False)


def test_state_that_lies_elsewhere_than_its_number_of_partitions_says_is_not_moved() -> None:
    shelves = [Memory() for _ in range(3)]
    user = next(name for name in map(str, range(99)) if (partition_of(name, 2), partition_of(name, 3)) == (1, 0))
    shelves[0].data[layout.user_key(user)] = PlainRecord(user).pack()
    metas = [layout.Meta(), layout.Meta()]
    with pytest.raises(MovingError, match="workers have run with another number"):
        Move(shelves, metas, 3).check(begun=False)
    Move(shelves, metas, 3).check(begun=True)  # where the move has put it
