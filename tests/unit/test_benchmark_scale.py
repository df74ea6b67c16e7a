"""The benchmark of scale gives users the same to do, and the same history, whatever their number."""

from __future__ import annotations

from collections import Counter

import pytest
from xxhash import xxh3_64_intdigest

from benchmarks import scale
from benchmarks.peers.job import Event, decode_event
from state.layout2 import CHUNK, ID_MASK
from state.tables import ids_numbers, open_record
from tests.small_partition import encoders

NOW = 1_790_000_000.0


@pytest.mark.parametrize("users", [20, 33, 40])
def test_each_user_does_all_sorts_of_things_whatever_the_number_of_users(users: int) -> None:
    done: dict[str, list[Event]] = {}
    for _, value in scale.in_turn(range(users * 120), users, NOW):
        event = decode_event(value)
        done.setdefault(event.user, []).append(event)
    assert len(done) == users
    for events in done.values():
        assert len(events) == 120
        kinds = Counter(event.kind for event in events)
        assert 24 <= kinds["click"] <= 36
        assert 4 <= kinds["purchase"] <= 8
        assert len({event.category for event in events}) == 40


def test_everybody_has_the_same_history_but_for_how_many_ids_lie_in_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "load_encoders", lambda **_: encoders())
    made = scale.alike(NOW)
    assert len(made) == scale.TEMPLATES
    numbers = range(scale.TEMPLATES * 2 * CHUNK)
    ids = {xxh3_64_intdigest(b"before-%d" % number) & ID_MASK for number in numbers}
    sizes = Counter(template.events for template in made)
    assert sizes == dict.fromkeys(range(CHUNK, 2 * CHUNK), scale.TEMPLATES // CHUNK)
    for template in made:
        record = open_record("u", template.block)
        assert record.count == template.events
        assert [*template.ids] == [*ids_numbers(template.block)] == [0]
        assert len(record.ids.items()) == template.events - CHUNK
        assert record.members.segments() == [*template.members]
        assert "regulars" in template.members, "what the rules say is decided: nobody enters by the first event"
        assert ids >= {one for one, _ in record.ids.items()}, "none of what is measured: that counts"
