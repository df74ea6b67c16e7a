"""A refresh that newer vectors overtook is not forgotten, and nothing else is remembered."""

from __future__ import annotations

from streams.kafka.refreshes import Refreshes


def test_a_refresh_that_nothing_overtook_is_done() -> None:
    refreshes = Refreshes()
    refreshes.committed([], ["v"])
    refreshes.begin("v")
    assert refreshes.done("v", [])
    assert refreshes.done("v", [])  # the same turn, tried again
    refreshes.committed(["v"], [])


def test_vectors_that_arrive_after_the_first_followers_were_read_ask_for_another() -> None:
    refreshes = Refreshes()
    refreshes.begin("v")
    refreshes.committed([], ["v", "w"])
    assert not refreshes.done("v", [])
    refreshes.committed(["v"], [])
    refreshes.begin("v")
    assert refreshes.done("v", [])


def test_vectors_of_the_same_turn_ask_for_another() -> None:
    refreshes = Refreshes()
    refreshes.begin("v")
    assert not refreshes.done("v", ["v"])


def test_only_refreshes_under_way_are_remembered() -> None:
    refreshes = Refreshes()
    for number in range(10_000):
        refreshes.begin(followee := f"v{number}")
        refreshes.committed([], [followee, f"somebody without followers {number}"])
        assert not refreshes.done(followee, [])
        refreshes.committed([followee], [])
    assert len(refreshes) == 0
