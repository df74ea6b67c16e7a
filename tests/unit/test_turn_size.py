"""How large a turn is under backlog: as large as what it writes allows."""

from __future__ import annotations

import dataclasses

import pytest

from streams.kafka.arrivals import Room
from streams.kafka.turn_size import FIRST, TurnSize
from streams.settings import Settings
from streams.steps.effects import Effects
from tests.small_partition import PLACE

ROOM = Room(400_000, written=64_000_000)
MESSAGES = 400_000


def wrote(size: int, records: int = 0) -> Effects:
    return Effects(written=size, puts={b"%d" % number: b"" for number in range(records)})


def settled(users: int, size: int, room: Room = ROOM) -> tuple[TurnSize, int]:
    """After many turns over so many users of ``size`` bytes in equal shares, each of all records that it may have; and
    the most that one of them wrote."""
    turns, most = TurnSize(room, MESSAGES), 0
    for _ in range(20):
        written = int(users * (1.0 - (1.0 - 1.0 / users) ** turns.records)) * size
        turns.took(turns.records, wrote(written))
        most = max(most, written)
    return turns, most


def test_a_turn_grows_to_the_most_while_its_users_have_room() -> None:
    turns, _ = settled(10_000, 500)
    assert turns.records == ROOM.records


def test_a_turn_begins_small_and_at_most_doubles() -> None:
    turns = TurnSize(ROOM, MESSAGES)
    assert turns.records == FIRST
    turns.took(FIRST, wrote(1))
    assert turns.records == 2 * FIRST


@pytest.mark.parametrize("users", [200_000, 1_000_000, 50_000_000])
def test_a_turn_writes_no_more_than_there_is_room_for_however_many_users_there_are(users: int) -> None:
    turns, most = settled(users, 500)
    assert most <= 1.05 * ROOM.written
    assert 100_000 <= turns.records < ROOM.records


def test_a_turn_whose_records_each_make_a_message_stays_below_what_a_transaction_holds() -> None:
    turns = TurnSize(ROOM, most_messages=1_000)
    turns.took(turns.records, wrote(1, records=500))
    assert turns.records == FIRST * 750 // 500
    turns.took(turns.records, wrote(1, records=1_000))
    assert turns.records == FIRST * 750 // 500 * 750 // 1_000


def test_a_turn_writes_half_of_what_a_transaction_may_have_at_most_however_much_memory_there_is() -> None:
    place = dataclasses.replace(PLACE, most_bytes=1_000_000)
    turns = TurnSize.of(Room(400_000, written=64_000_000), place)
    turns.took(FIRST, wrote(1_000_000))
    assert turns.records == FIRST // 2


def test_small_turns_say_nothing() -> None:
    turns = TurnSize(ROOM, MESSAGES)
    turns.took(30, wrote(64_000_000))
    turns.took(0, wrote(64_000_000))
    assert turns.records == FIRST


def test_fewer_records_than_that_are_the_most_when_it_is_set_so() -> None:
    turns = TurnSize(Room(50), MESSAGES)
    turns.took(50, wrote(1))
    assert turns.records == 50


def test_many_partitions_share_the_memory_for_what_turns_write() -> None:
    settings = Settings(cache_mb=256)
    assert Room.of(settings, 2).written == Room.of(settings, 1).written == 64 * 1024 * 1024
    assert Room.of(settings, 64).written == 2 * 1024 * 1024
