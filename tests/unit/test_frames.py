"""What is not known of a user stays exactly that in a partition that counts its epochs in other numbers."""

from __future__ import annotations

import pytest

from state import layout
from state.absence import Sort
from state.format1 import pack_ids
from state.layout2 import CHUNK, LAST_CHUNKS
from state.plain.record import PlainRecord, unpack
from state.record import Record
from state.user import PendingText
from streams.steps.frames import Frames
from streams.steps.moving import Move
from streams.steps.partitioner import partition_of
from tests import format1
from tests.small_partition import Memory

TIME = 1_700_000_000.0


def meta(epoch: int, swept: int, terms: dict[str, int], fingerprint: int = 7) -> layout.Meta:
    return layout.Meta(users=1, definitions=2, fingerprint=fingerprint, epoch=epoch, swept=swept, terms=terms)


def user(epoch: int, ids: int = 0) -> PlainRecord:
    state = PlainRecord("u", epoch)
    state.enter(TIME)
    for kind, time in (("click", 5.0), ("view", 6.0)):
        state.cells.note(Sort(kind), time)
    for number in range(ids):
        state.ids.add(number, TIME)
    return state


def unknown_of(state: Record) -> dict[str, float]:
    """Of the terms of these tests, up to when each is not known."""
    untils = {key: state.cells.unknown_until(key) for key in ("a", "b", "old")}
    return {key: until for key, until in untils.items() if until is not None}


def no_records(_numbers: range) -> list[bytes | None]:
    raise AssertionError("the records of a user's ids are not asked for")


def translated(frames: Frames, state: PlainRecord) -> PlainRecord:
    """The user's record as it is after the move from partition 0 to 1, and nothing else changes."""
    ((key, value),) = frames.translated(0, 1, "u", state.pack(), no_records).items()
    assert key == layout.user_key("u")
    assert value is not None
    return unpack("u", value)


def test_where_epochs_mean_the_same_the_record_is_the_same() -> None:
    frames = Frames([meta(3, 2, {"a": 1, "b": 3}), meta(3, 3, {"a": 1, "b": 3})], 3)
    for value in (user(2).pack(), format1.encode_user(format1.User(time=TIME, plan=2))):
        assert frames.translated(0, 1, "u", value, no_records) == {layout.user_key("u"): value}
    # who was not looked at in one partition may be in each of them now
    assert [frames.after(number).swept for number in range(3)] == [0, 0, 0]
    assert [frames.after(number).epoch for number in range(3)] == [3, 3, 3]


@pytest.mark.parametrize(
    ("epoch", "unknown"),
    [(3, set()), (2, {"b"}), (1, {"b"}), (0, {"a", "b"})],
)
def test_what_was_not_counted_at_the_old_home_is_unknown_at_the_new_one(epoch: int, unknown: set[str]) -> None:
    frames = Frames([meta(3, 2, {"a": 1, "b": 3, "old": 2}), meta(1, 1, {"a": 1, "b": 1})], 2)
    moved = translated(frames, user(epoch))
    assert (moved.epoch, unknown_of(moved)) == (1, dict.fromkeys(unknown, TIME))
    # and all are looked at anew there, with an epoch that marks nothing by itself
    after = frames.after(1)
    assert (after.epoch, after.swept, after.terms) == (2, 0, {"a": 1, "b": 1})


def test_a_watched_sort_that_was_not_counted_is_unknown_as_well() -> None:
    frames = Frames([meta(2, 1, {"@click|": 2, "@view|": 1}), meta(1, 1, {"@click|": 1, "@view|": 1})], 2)
    moved = translated(frames, user(1))
    assert [moved.cells.latest(Sort(kind)) for kind in ("click", "view")] == [-TIME, 6.0]


def test_nobody_is_looked_at_again_where_all_were_by_the_same_definitions() -> None:
    frames = Frames([meta(4, 4, {"a": 4, "b": 1}), meta(2, 2, {"a": 1, "b": 2})], 3)
    moved = translated(frames, user(4))
    assert (moved.epoch, unknown_of(moved)) == (2, {})
    assert [(frames.after(number).epoch, frames.after(number).swept) for number in range(3)] == [(4, 4), (2, 2), (4, 4)]


def test_a_partition_that_nobody_ever_lived_in_takes_the_frame_of_the_furthest() -> None:
    frames = Frames([layout.Meta(), meta(2, 2, {"a": 1})], 3)
    assert frames.after(0) == frames.after(1) == frames.after(2)
    assert frames.after(0).terms == {"a": 1}


def test_the_ids_of_who_is_translated_stay() -> None:
    before = user(4, ids=200)
    frames = Frames([meta(4, 4, {"a": 1}), meta(2, 2, {"a": 1})], 2)
    after = translated(frames, before)
    assert after.ids.numbers == before.ids.numbers == range(3)
    assert [id_hash for id_hash, _ in after.ids.items()] == list(
        range(192, 200)
    )  # the others are in records of their own


def test_who_is_translated_from_format_1_keeps_the_ids_and_the_texts_that_the_record_had() -> None:
    packed, chunks = format1.ids_of((number, int(TIME)) for number in range(200))
    texts = [PendingText(f"t{number}", TIME + number, "words") for number in range(2)]
    old = format1.User(time=TIME, count=9, plan=4, ids=packed, pending=texts, texts_put=3, texts_taken=3)
    frames = Frames([meta(4, 4, {"a": 1}), meta(2, 2, {"a": 1, "b": 1})], 2)
    asked: list[range] = []

    def records(numbers: range) -> list[bytes | None]:
        asked.append(numbers)
        return [*chunks]

    puts = frames.translated(0, 1, "u", format1.encode_user(old), records)
    moved = unpack("u", puts.pop(layout.user_key("u")) or b"")
    assert (moved.epoch, unknown_of(moved), moved.count) == (2, {"b": TIME}, 9)
    assert asked == [moved.ids.numbers] == [range(3)]
    assert [id_hash for id_hash, _ in moved.ids.items()] == list(range(192, 200))
    assert (moved.texts_taken, moved.texts_put) == (3, 5)
    assert puts == dict(zip(layout.text_keys("u", 3, 5), map(layout.encode_text, texts), strict=True))


def test_a_long_tail_of_format_1_becomes_records_where_it_is_translated() -> None:
    old = format1.User(time=TIME, plan=4, ids={number: int(TIME) for number in range(150)})
    frames = Frames([meta(4, 4, {"a": 1}), meta(2, 2, {"a": 1})], 2)
    puts = frames.translated(0, 1, "u", format1.encode_user(old), lambda numbers: [None for _ in numbers])
    moved = unpack("u", puts.pop(layout.user_key("u")) or b"")
    moved.ids.restore(puts[key] for key in layout.seen_keys("u", moved.ids.numbers))
    assert puts.keys() == set(layout.seen_keys("u", range(2)))
    assert [id_hash for id_hash, _ in moved.ids.items()] == list(range(150))


@pytest.mark.parametrize("puts", [None, 1, 2, 3, 4, 5, 20])
def test_no_record_of_ids_is_left_that_nobody_speaks_of_wherever_the_move_was_killed(puts: int | None) -> None:
    """What was a user's own in format 1 may fill a record, by which the oldest go."""
    mover = next(user for user in map(str, range(99)) if (partition_of(user, 2), partition_of(user, 3)) == (0, 1))
    packed, chunks = format1.ids_of((number, int(TIME) - 90_000) for number in range(LAST_CHUNKS * CHUNK))
    own = pack_ids((10_000 + number, int(TIME)) for number in range(2 * CHUNK + 5))
    old = format1.User(time=TIME, count=9, plan=4, ids=(*packed[:2], own))
    shelves = [Memory(), Memory(), Memory()]
    shelves[0].data = {layout.user_key(mover): format1.encode_user(old)}
    shelves[0].data |= dict(zip(layout.seen_keys(mover, range(len(chunks))), chunks, strict=True))
    metas = [meta(4, 4, {"a": 1}), meta(2, 2, {"a": 1, "b": 1})]
    metas[0].installation = metas[1].installation = layout.Installation(partitions=2)
    if puts is not None:
        move(shelves, metas, puts)
    move(shelves, metas, None)
    home = shelves[1].data
    record = unpack(mover, home[layout.user_key(mover)])
    assert record.ids.numbers == range(2, LAST_CHUNKS + 2)
    assert {key for key in home if key[:1] == b"d"} == set(layout.seen_keys(mover, record.ids.numbers))
    assert shelves[0].data == {}


def move(shelves: list[Memory], metas: list[layout.Meta], most: int | None) -> None:
    """As many puts as that, applied as they come; None: all."""
    left = most
    for _, step in Move(shelves, metas, 3).steps:
        for put in step():
            if left == 0:
                return
            left = None if left is None else left - 1
            data = shelves[put.partition].data
            if put.value is None:
                data.pop(put.key, None)
            else:
                data[put.key] = put.value
