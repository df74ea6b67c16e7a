"""Texts that wait for the encoder: records of their own, whatever becomes of the user meanwhile."""

from __future__ import annotations

from state import layout
from state.record import Record as State
from state.user import PendingText, texts_waiting
from streams.steps.encode import MAX_TEXTS
from tests.format1 import User, encode_user
from tests.small_partition import T0, SmallPartition
from tests.unit.membership_cases import COOKING, FOOTBALL, TWO_VIEWS, WORDS, comment, delete, view


def texts_of(partition: SmallPartition, user: str = "u") -> list[str]:
    """Ids of the texts that wait in the store, in order."""
    return [
        layout.decode_text(partition.memory.data[key]).id for key in partition.memory.keys(layout.texts_prefix(user))
    ]


def known(partition: SmallPartition, user: str = "u") -> State:
    state = partition.state(user)
    assert state is not None
    return state


def test_a_user_with_thousands_of_waiting_texts_has_a_small_record_and_each_text_is_read_once_in_order() -> None:
    partition = SmallPartition(WORDS)
    for start in range(0, 5_000, 500):
        partition.events(*(comment(n, f"text {n} " + "x" * 500, id=f"c{n}") for n in range(start, start + 500)))
        known(partition)
    assert texts_waiting(known(partition)) == 5_000
    user = partition.memory.data[layout.user_key("u")]
    assert len(user) < 30_000  # nearly all of it the ids that duplicates are known by
    taken: list[str] = []
    while "u" in {key[1:].decode() for key in partition.memory.keys(b"q")} and len(taken) < 40:
        (job,) = partition.jobs()
        assert len(job.texts) == MAX_TEXTS
        taken += [text.id for text in job.texts]
        partition.restart()  # as if the worker had been killed in between
        partition.batch(jobs=[job])
    assert taken == [f"c{n}" for n in range(40)]
    assert texts_of(partition) == [f"c{n}" for n in range(40, 5_000)]
    assert texts_waiting(known(partition)) == 4_960


def test_all_texts_are_encoded_and_their_records_are_gone() -> None:
    partition = SmallPartition(WORDS)
    partition.events(*(comment(n, COOKING, id=f"c{n}") for n in range(2 * MAX_TEXTS + 1)))
    rounds = 0
    while partition.meta.queued:
        partition.encode_waiting()
        rounds += 1
    assert rounds == 3
    assert texts_of(partition) == []
    state = known(partition)
    assert (state.texts, state.texts_put, state.texts_taken, state.queued) == (17, 17, 17, False)
    assert partition.members() == {"cooks"}


def test_a_text_that_comes_while_others_are_encoded_waits_for_the_next_round() -> None:
    partition = SmallPartition(WORDS)
    partition.events(comment(0, COOKING, id="first"))
    jobs = partition.jobs()
    effects = partition.batch(events=(comment(1, FOOTBALL, id="second"),), jobs=jobs)
    assert effects.offers == []  # the user stands in the queue already
    assert texts_of(partition) == ["second"]
    assert partition.meta.queued == 1
    partition.encode_waiting()
    assert partition.meta.queued == 0


def test_a_click_puts_no_text_record() -> None:
    partition = SmallPartition(TWO_VIEWS)
    effects = partition.events(view(0), view(1))
    assert set(effects.puts) == {layout.user_key("u"), layout.POSITION_KEY}


def test_erasing_a_user_removes_texts_of_before_and_of_the_same_turn_and_nobody_elses() -> None:
    partition = SmallPartition(WORDS)
    partition.events(comment(0, COOKING), comment(1, COOKING, user="us", id="other"))
    partition.events(comment(2, FOOTBALL), delete(3))
    assert texts_of(partition) == []
    assert texts_of(partition, "us") == ["other"]
    assert partition.meta.queued == 1
    partition.events(comment(4, FOOTBALL, id="x"), delete(5), comment(6, COOKING, id="back"))
    assert texts_of(partition) == ["back"]
    assert texts_waiting(known(partition)) == 1


def test_texts_that_an_earlier_release_kept_in_the_state_are_encoded_first() -> None:
    partition = SmallPartition(WORDS)
    partition.events(comment(0, COOKING, id="x"))
    (key,) = partition.memory.keys(layout.texts_prefix("u"))
    state = known(partition)
    old = User(
        time=T0, first=T0, count=1, pending=[PendingText(f"old{n}", T0 + n, COOKING) for n in range(2)], texts=1,
        plan=state.epoch, dirty=1, queued=True, life=state.life,
    )  # fmt: skip
    del partition.memory.data[key]
    partition.memory.data[layout.user_key("u")] = encode_user(old)
    partition.restart()
    partition.encode_waiting()  # reads the state of before, without a text of its own, and moves them
    assert texts_of(partition) == ["old0", "old1"]
    assert texts_waiting(known(partition)) == 2
    assert partition.meta.queued == 1
    partition.events(comment(9, COOKING, id="new"))
    assert texts_of(partition) == ["old0", "old1", "new"]
    partition.encode_waiting()
    assert (texts_waiting(known(partition)), partition.meta.queued) == (0, 0)
    assert partition.members() == {"cooks"}


def test_a_turn_sees_its_own_puts_and_drops_over_those_of_the_store() -> None:
    partition = SmallPartition(WORDS)
    partition.events(comment(0, "a", id="a"), comment(1, "b", id="b"))
    turn = partition._turn()
    assert turn.pending_texts("nobody") == []
    state = turn.user("u")
    turn.add_text("u", state, PendingText("c", T0 + 2, "c"))
    assert [text.id for text in turn.pending_texts("u")] == ["a", "b", "c"]
    turn.drop_texts("u", state, 1)
    assert [text.id for text in turn.pending_texts("u")] == ["b", "c"]
    turn.drop_texts("u", state, 10)
    assert turn.pending_texts("u") == []
    assert texts_waiting(state) == 0
    turn.add_text("u", state, PendingText("d", T0 + 3, "d"))
    assert [text.id for text in turn.pending_texts("u")] == ["d"]
