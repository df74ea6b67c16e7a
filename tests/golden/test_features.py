"""Where each number of a user's behaviour stands: trained weights know it by its place."""

from __future__ import annotations

from state import features

NAMED = {
    "SPEND_FAST": 22, "SPEND_SLOW": 23, "DWELL_SLOW": 24, "FOLLOWEES": 25, "GROUPS": 26, "TEXTS": 27, "CATEGORIES": 32,
}  # fmt: skip
KINDS = ("view", "click", "purchase", "comment", "follow", "unfollow", "join", "leave", "identify", "alias", "delete")


def test_the_places_of_the_first_release_are_as_they_were() -> None:
    assert {kind: features.PLACES[kind] for kind in KINDS} == {kind: (at, 11 + at) for at, kind in enumerate(KINDS)}
    assert {name: getattr(features, name) for name in NAMED} == NAMED
    assert features.RAW_DIM == 96


def test_a_place_has_one_meaning_and_a_new_kind_takes_spare_ones() -> None:
    taken = [place for places in features.PLACES.values() for place in places]
    taken += [getattr(features, name) for name in NAMED if name != "CATEGORIES"]
    assert len(set(taken)) == len(taken)
    assert set(taken) | set(features.SPARE) == set(range(features.CATEGORIES))
    assert set(taken).isdisjoint(features.SPARE)
