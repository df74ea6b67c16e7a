"""What fails is tried again after growing pauses, and given up after a while."""

from __future__ import annotations

import pytest

from streams.kafka.errors import PermanentError
from streams.kafka.patience import Patience


def test_pauses_grow_until_it_goes_well_and_it_is_given_up_in_a_sentence_that_says_why() -> None:
    now = [0.0]
    patience = Patience("a producer", 20.0, lambda: now[0])
    pauses = []
    for _ in range(3):
        pauses.append(patience.pause(OSError("away")))
        now[0] += pauses[-1]
    assert pauses == sorted(set(pauses))
    assert (patience.in_a_row, patience.seconds) == (3, sum(pauses))
    patience.went_well()
    assert (patience.in_a_row, patience.seconds) == (0, 0.0)
    assert patience.pause(OSError("away")) == pauses[0]
    now[0] += 20.0
    with pytest.raises(PermanentError, match="a producer was tried 2 times in 20 s and is given up: still away"):
        patience.pause(OSError("still away"))
