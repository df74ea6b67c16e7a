"""What can wait gets its share of the time, and no more of it."""

from __future__ import annotations

from streams.kafka.share import FairShare


def test_background_work_has_a_twentieth_of_the_time_under_constant_load_and_all_of_it_when_idle() -> None:
    for idle in (False, True):
        share = FairShare(500)
        now, spent, each = 0.0, 0.0, 0.01
        while now < 100.0:
            if share.due(now, idle):
                now, spent = now + each, spent + each
                share.took(each, now, share.size)
            else:
                now += 0.004  # somebody else's turn
        assert (0.045 < spent / now <= 0.051) if not idle else spent > 99.0


def test_a_piece_is_as_large_as_its_time_allows() -> None:
    share = FairShare(500, piece=0.02)
    for _ in range(20):  # a thousandth of a second each
        share.took(share.size * 0.001, 0.0, share.size)
    assert 10 <= share.size <= 20
    for _ in range(20):
        share.took(0.001, 0.0, share.size)
    assert share.size == 500
    share.took(10.0, 0.0, 0)
    assert share.size == 1


def test_what_may_have_a_part_of_the_idle_time_leaves_the_rest_of_it() -> None:
    share = FairShare(500, idle_share=0.25)
    now, spent = 0.0, 0.0
    while now < 100.0:
        assert share.wait(now, idle=True) <= 0.0
        now, spent = now + 0.01, spent + 0.01
        share.took(0.01, now, share.size)
        assert not share.due(now, idle=True)
        now += share.wait(now, idle=True)
    assert 0.24 < spent / now < 0.26
