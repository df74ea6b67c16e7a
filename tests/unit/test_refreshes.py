"""A refresh that newer vectors overtook is not forgotten."""

from __future__ import annotations

from streams.kafka.refreshes import Refreshes


def test_a_refresh_that_nothing_overtook_is_done() -> None:
    refreshes = Refreshes()
    refreshes.arrived(["v"])
    refreshes.begin("v")
    assert refreshes.done("v", [])


def test_vectors_that_arrive_after_the_first_followers_were_read_ask_for_another() -> None:
    refreshes = Refreshes()
    refreshes.begin("v")
    refreshes.arrived(["v", "w"])
    assert not refreshes.done("v", [])
    refreshes.begin("v")
    assert refreshes.done("v", [])


def test_vectors_of_the_same_turn_ask_for_another() -> None:
    refreshes = Refreshes()
    refreshes.begin("v")
    assert not refreshes.done("v", ["v"])
