"""Byte layouts: what is written is read back, keys sort as they must, and no two users' keys mix."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import layout
from state.aliases import decode_alias
from state.tables import ids_numbers, open_record
from state.user import PendingText
from state.vectors import Neighbour, Vectors
from state.windows import NEVER
from tests.format1 import User, encode_user
from tests.records import block_of

#: prefixes of each other, NUL bytes, beyond ASCII, at the limit of length; never a lone surrogate (JSON has none)
NAMES = st.sampled_from(
    ["a", "ab", "a\0", "a\0b", "\0", "é", "用户", "🙂", "u", "fu", "x" * 512, "用" * 512]
) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
TIMES = st.floats(1e-3, 4e9)
COUNTS = st.integers(0, 2**53)
BYTES = st.binary(max_size=16)
#: of a timer
DUES = TIMES | st.just(NEVER)


@given(DUES, st.booleans())
def test_the_timer_of_a_user_is_read_without_the_rest_in_either_format(due: float, of_before: bool) -> None:
    data = encode_user(User(due=due)) if of_before else block_of(due=due)
    assert layout.due_of(data) == layout.due_of(data[:9]) == due
    assert layout.has_timer(data) == (due != NEVER)


@given(
    st.builds(
        Vectors,
        text_sum=BYTES,
        text_time=TIMES,
        node=BYTES,
        sent_hidden=BYTES,
        version=COUNTS,
        subscribers=st.lists(st.integers(0, 10_000), max_size=4),
        encoder=NAMES,
        encoded_time=TIMES,
    ),
    st.builds(Neighbour, COUNTS, COUNTS, BYTES, BYTES),
    st.builds(
        layout.Meta,
        positions=st.dictionaries(NAMES, COUNTS, max_size=4),
        watermark=TIMES,
        users=COUNTS,
        events=COUNTS,
        duplicates=COUNTS,
        changes=COUNTS,
        members=st.dictionaries(NAMES, COUNTS, max_size=4),
        queued=COUNTS,
    ),
    st.tuples(st.integers(0, 2**63 - 1), TIMES | st.just(0.0)),
    st.builds(PendingText, NAMES, TIMES, NAMES, TIMES),
)
def test_the_other_records_are_read_back_as_they_were(
    vectors: Vectors, neighbour: Neighbour, meta: layout.Meta, offset: tuple[int, float], text: PendingText
) -> None:
    assert layout.decode_text(layout.encode_text(text)) == text
    assert layout.decode_vectors(layout.encode_vectors(vectors)) == vectors
    assert layout.decode_neighbour(layout.encode_neighbour(neighbour)) == neighbour
    assert layout.decode_meta(layout.encode_meta(meta)) == meta
    assert layout.decode_offset(layout.encode_offset(*offset)) == offset


@given(TIMES | st.just(NEVER), TIMES | st.just(NEVER), NAMES, NAMES)
def test_timer_keys_sort_by_time_then_user(due: float, other: float, user: str, other_user: str) -> None:
    key, other_key = layout.timer_key(due, user.encode()), layout.timer_key(other, other_user.encode())
    if other - due >= 0.002:
        assert key < other_key
    if due == other:
        assert (key < other_key) == (user.encode() < other_user.encode())
    assert layout.timer_parts(key)[1] == user.encode()


@given(TIMES | st.integers(1, 4 * 10**12).map(lambda ms: ms / 1000.0))
def test_a_timer_key_is_never_before_its_time_and_at_most_two_milliseconds_after(due: float) -> None:
    for moment in (due, math.nextafter(due, NEVER)):
        assert moment <= layout.timer_parts(layout.timer_key(moment, b"u"))[0] < moment + 0.002


@pytest.mark.parametrize("due", [-math.inf, -1.0, 0.0, 1e17, 1e300, NEVER])
def test_any_due_time_has_a_timer_key(due: float) -> None:
    assert len(layout.timer_key(due, b"u")) == 10
    assert layout.timer_key(-1.0, b"u") <= layout.timer_key(due, b"u") <= layout.timer_key(NEVER, b"u")


@given(st.lists(NAMES, min_size=2, max_size=6, unique=True), NAMES)
def test_followers_of_one_user_never_show_among_those_of_another(followees: list[str], follower: str) -> None:
    keys = {followee: layout.follower_key(followee, follower) for followee in followees}
    assert len(set(keys.values())) == len(followees)
    for followee in followees:
        prefix = layout.followers_prefix(followee)
        assert [name for name, key in keys.items() if key.startswith(prefix)] == [followee]
        assert keys[followee][len(prefix) :].decode() == follower


@given(st.lists(NAMES, min_size=2, max_size=6, unique=True), st.integers(0, 2**40))
def test_texts_sort_by_their_number_and_never_show_among_those_of_another_user(users: list[str], start: int) -> None:
    keys = {user: layout.text_keys(user, start, start + 300) for user in users}
    assert len({key for each in keys.values() for key in each}) == 300 * len(users)
    for user, mine in keys.items():
        assert mine == sorted(mine)
        prefix = layout.texts_prefix(user)
        assert {name for name, each in keys.items() if each[0].startswith(prefix)} == {user}


@given(NAMES, NAMES)
def test_keys_of_different_kinds_and_users_differ(one: str, other: str) -> None:
    kinds = (
        layout.user_key,
        layout.vectors_key,
        layout.queue_key,
        layout.neighbour_key,
        layout.refresh_key,
        layout.head_key,
        layout.followers_prefix,
        layout.texts_prefix,
    )
    keys = [make(name) for make in kinds for name in {one, other}]
    keys += [layout.POSITION_KEY, layout.OFFSET_KEY, layout.timer_key(1.0, one.encode())]
    assert len(set(keys)) == len(keys)
    assert len({key[:1] for key in keys}) == len(kinds) + 3


def test_a_record_of_another_format_is_named_as_such() -> None:
    for decode in (layout.decode_vectors, layout.decode_neighbour, layout.decode_text, layout.decode_guard):
        for data in (b"\x02rest", b"\x00rest"):
            with pytest.raises(layout.FormatError, match=f"format {data[0]}, this version reads 1"):
                decode(data)
    for newer in (layout.decode_meta, decode_alias):
        with pytest.raises(layout.FormatError, match="format 3, this version reads 2"):
            newer(b"\x03rest")
    for data in (b"\x03rest", b"\x00", b""):
        with pytest.raises(layout.FormatError):
            open_record("u", data)


@pytest.mark.parametrize("size", [0, 1, 8, 111])
def test_a_record_that_ends_too_early_is_told_before_its_ids_are_looked_for(size: int) -> None:
    with pytest.raises(layout.FormatError, match="it ends too early"):
        ids_numbers(block_of()[:size])


def test_a_record_of_a_later_release_with_more_fields_is_still_read() -> None:
    data = layout.encode_neighbour(Neighbour(1, 2, b"n", b"h"))
    longer = data[:1] + bytes([data[1] + 1]) + data[2:] + b"\x07"
    assert layout.decode_neighbour(longer) == Neighbour(1, 2, b"n", b"h")
