"""The benchmark of scale gives users the same to do, and the same history, whatever their number.

And it measures what it says: visits to known users, sizes in turn.
"""

from __future__ import annotations

import json
from collections import Counter, deque
from collections.abc import Iterable
from typing import Any, cast

import pytest
from xxhash import xxh3_64_intdigest

from benchmarks import scale, sizes
from benchmarks.in_turn import ACTIVE, follows_before, in_turn
from benchmarks.peers.job import Event, decode_event
from benchmarks.sizes import Place, Service, Size, alike, growth, in_rounds, share_read
from state.layout2 import CHUNK, ID_MASK
from state.tables import ids_numbers, open_record
from streams.steps.partitioner import partition_of
from tests.small_partition import encoders

NOW = 1_790_000_000.0
SIZES = (10_000, 100_000, 1_000_000)


@pytest.mark.parametrize("users", [20, 33, 40])
def test_each_user_does_all_sorts_of_things_whatever_the_number_of_users(users: int) -> None:
    done: dict[str, list[Event]] = {}
    for _, value in in_turn(range(users * 120), users, NOW):
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
    monkeypatch.setattr(sizes, "load_encoders", lambda **_: encoders())
    made = alike(NOW)
    assert len(made) == sizes.TEMPLATES
    numbers = range(sizes.TEMPLATES * 2 * CHUNK)
    ids = {xxh3_64_intdigest(b"before-%d" % number) & ID_MASK for number in numbers}
    lengths = Counter(template.events for template in made)
    assert lengths == dict.fromkeys(range(CHUNK, 2 * CHUNK), sizes.TEMPLATES // CHUNK)
    for template in made:
        record = open_record("u", template.block)
        assert record.count == template.events
        assert [*template.ids] == [*ids_numbers(template.block)] == [0]
        assert len(record.ids.items()) == template.events - CHUNK
        assert record.members.segments() == [*template.members]
        assert "regulars" in template.members, "what the rules say is decided: nobody enters by the first event"
        assert ids >= {one for one, _ in record.ids.items()}, "none of what is measured: that counts"


def test_no_turn_meets_a_user_twice_even_where_they_are_few() -> None:
    users = min(SIZES)
    recent: list[deque[bytes]] = [deque(maxlen=scale.BATCH) for _ in range(scale.PARTITIONS)]
    inside: list[set[bytes]] = [set() for _ in range(scale.PARTITIONS)]
    for user, _ in in_turn(range(3 * users), users, NOW):
        home = partition_of(user.decode(), scale.PARTITIONS)
        if len(recent[home]) == scale.BATCH:
            inside[home].remove(recent[home][0])
        assert user not in inside[home]
        inside[home].add(user)
        recent[home].append(user)


def test_there_are_as_many_follows_after_what_is_measured_as_before() -> None:
    there = {(user, json.loads(value)["target"]) for user, value in follows_before(2 * ACTIVE, NOW)}
    assert len(there) == 2 * ACTIVE
    now, about = set(there), Counter[bytes]()
    for user, value in in_turn(range(20 * ACTIVE), ACTIVE, NOW, follows=10):
        if b'follow"' in value:
            event = json.loads(value)
            edge = (user, event["target"])
            assert edge not in there, "it would be no change"
            assert (edge in now) == (event["kind"] == "unfollow")
            now ^= {edge}
            about[user] += 1
    assert now == there
    assert len(about) == ACTIVE
    assert set(about.values()) == {2}, "each follows, and takes it back"


def test_without_the_cache_nearly_every_visit_reads_the_store_and_with_it_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sizes, "load_encoders", lambda **_: encoders())
    assert share_read(6_000, 2_000, scale.LEAST_CACHE_MB, rounds=1) > 0.9
    assert share_read(6_000, 2_000, 64, rounds=1) == 0.0


def numbered(numbers: range) -> list[tuple[bytes, bytes]]:
    return [(b"user", b"%d" % number) for number in numbers]


def test_sizes_are_measured_in_turn_there_and_back_each_with_what_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[tuple[str, list[int]]] = []

    def measure(_place: Place, service: str, count: int, records: Iterable[tuple[bytes, bytes]]) -> dict[str, Any]:
        numbers = [int(value) for _, value in records]
        assert len(numbers) == count
        called.append((service, numbers))
        return {"cpu_microseconds_per_event": float(len(called)), "load_1m": 0.5}

    monkeypatch.setattr(sizes, "measure", measure)
    few = Size(10, cast("Service", "few"), numbered, 4)
    many = Size(100, cast("Service", "many"), numbered)
    found = in_rounds(cast("Place", None), [few, many], 2, 3)
    assert called == [
        ("few", [4, 5]), ("many", [0, 1]), ("many", [2, 3]), ("few", [6, 7]), ("few", [8, 9]), ("many", [4, 5]),
    ]  # fmt: skip
    one = found["10"]
    assert (one["least"], one["cpu_microseconds_per_event"], one["most"]) == (1.0, 4.0, 5.0)
    assert [each["cpu_microseconds_per_event"] for each in one["rounds"]] == [1.0, 4.0, 5.0]
    assert growth(found) == 0.75, "what the largest costs by what the smallest does: 3 by 4"
