"""A user is forgotten: within a batch, with work under way, with timers due."""

from __future__ import annotations

import pytest

from state.user import texts_waiting
from tests.small_partition import T0, SmallPartition
from tests.unit.membership_cases import COOKING, FOOTBALL, SPENDERS, TWO_VIEWS, WORDS, comment, delete, purchase, view


def kinds_of_records(partition: SmallPartition) -> set[str]:
    """First letters of the keys; ``e`` is the guard."""
    return {chr(key[0]) for key in partition.memory.data}


def test_an_erased_user_leaves_all_segments_and_no_record_stays() -> None:
    partition = SmallPartition(TWO_VIEWS + SPENDERS)
    partition.events(view(0), view(1), purchase(2, 200.0))
    effects = partition.events(delete(3))
    assert partition.told()[2:] == [("keen", "exited", "erasure", 3.0), ("spenders", "exited", "erasure", 3.0)]
    assert [change.sequence for change in partition.changes] == [1, 2, 3, 4]
    assert effects.erased == ["u"]
    assert effects.snapshots == []
    assert kinds_of_records(partition) == {"p", "e"}
    assert partition.meta.users == 0
    assert set(partition.meta.members.values()) == {0}


def test_a_user_who_comes_back_in_the_same_batch_starts_from_nothing() -> None:
    partition = SmallPartition(TWO_VIEWS)
    partition.events(view(0), view(1))
    partition.restart()  # as after a restart: the old record is only in the store
    effects = partition.events(delete(2), view(3, id="back"))
    state = partition.state()
    assert state is not None
    assert (state.count, len(state.ids), len(state.members)) == (1, 1, 0)
    assert effects.erased == ["u"]
    assert partition.meta.users == 1
    partition.events(view(4))
    assert partition.told()[2:] == [("keen", "entered", "event", 4.0)]


def test_erasing_twice_in_a_batch_leaves_nothing() -> None:
    partition = SmallPartition(TWO_VIEWS)
    partition.events(view(0), view(1))
    partition.events(delete(2), view(3), view(4), delete(5), delete(6))
    assert partition.state() is None
    assert partition.meta.users == 0
    assert [change for _, change, _, _ in partition.told()] == ["entered", "exited", "entered", "exited"]


def test_a_timer_of_an_erased_user_does_nothing_even_in_the_same_turn() -> None:
    partition = SmallPartition(TWO_VIEWS)
    partition.events(view(0), view(1))
    partition.batch(events=(delete(30),), fire_at=T0 + 30)
    assert partition.state() is None
    assert [origin for _, _, origin, _ in partition.told()] == ["event", "erasure"]


def test_vectors_that_come_back_for_an_erased_user_are_thrown_away() -> None:
    for together in (False, True):
        partition = SmallPartition(WORDS)
        partition.events(comment(0, COOKING))
        jobs = partition.jobs()
        if together:
            partition.batch(events=(delete(1),), jobs=jobs)
        else:
            partition.events(delete(1))
            partition.batch(jobs=jobs)
        assert kinds_of_records(partition) == {"p", "e"}
        assert partition.told() == []


@pytest.mark.parametrize("text", [None, FOOTBALL])
def test_vectors_of_the_time_before_the_erasure_are_not_given_to_who_comes_back(text: str | None) -> None:
    partition = SmallPartition(WORDS)
    partition.events(comment(0, COOKING, id=""))
    partition.encode_waiting()
    partition.events(comment(1, COOKING + "!", id=""))
    jobs = partition.jobs()
    partition.events(delete(2), comment(3, text, id="") if text else view(3))
    partition.batch(jobs=jobs)
    partition.encode_waiting()
    assert partition.members() == set()
    state = partition.state()
    assert state is not None
    assert (state.count, state.texts, texts_waiting(state)) == (1, int(text is not None), 0)


def test_labels_waiting_for_an_erased_user_are_gone() -> None:
    partition = SmallPartition('[[segment]]\nid = "s"\nlearned = "g"\n')
    partition.events(view(0))
    partition.batch(labels=({"segment": "s", "member": True, "time": T0},))
    partition.events(delete(1), view(2))
    state = partition.state()
    assert state is not None
    assert [*state.labels] == []
