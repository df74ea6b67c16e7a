"""Byte layouts: what is written is read back, keys sort as they must, and no two users' keys mix."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from state import layout
from state.seen import Seen
from state.user import Membership, PendingLabel, PendingText, UserState
from state.vectors import Neighbour, Vectors
from state.windows import NEVER, Tally

#: prefixes of each other, NUL bytes, beyond ASCII, at the limit of length; never a lone surrogate (JSON has none)
NAMES = st.sampled_from(
    ["a", "ab", "a\0", "a\0b", "\0", "é", "用户", "🙂", "u", "fu", "x" * 512, "用" * 512]
) | st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
NUMBERS = st.floats(allow_nan=False)
TIMES = st.floats(1e-3, 4e9)
COUNTS = st.integers(0, 2**53)
BYTES = st.binary(max_size=16)
STATES = st.builds(
    UserState,
    time=TIMES,
    first=TIMES,
    count=COUNTS,
    sequence=COUNTS,
    _decayed=st.dictionaries(NAMES, st.lists(NUMBERS, min_size=3, max_size=3), max_size=3),
    _categories=st.dictionaries(st.integers(0, 63), st.lists(NUMBERS, min_size=2, max_size=2), max_size=3),
    _tallies=st.dictionaries(
        NAMES, st.builds(Tally, COUNTS, COUNTS, st.dictionaries(COUNTS, COUNTS, max_size=3)), max_size=3
    ),
    ids=st.builds(Seen, st.dictionaries(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), max_size=5)),
    _edges=st.dictionaries(NAMES, NUMBERS, max_size=3),
    _groups=st.dictionaries(NAMES, NUMBERS, max_size=3),
    pending=st.lists(st.builds(PendingText, NAMES, TIMES, NAMES, TIMES), max_size=2),
    labels=st.lists(st.builds(PendingLabel, NAMES, st.booleans(), NUMBERS), max_size=2),
    texts=COUNTS,
    _members=st.dictionaries(
        NAMES, st.builds(Membership, TIMES, NUMBERS, COUNTS, COUNTS, st.none() | NUMBERS), max_size=3
    ),
    due=TIMES | st.just(NEVER),
    plan=st.integers(0, 2**53 - 1),
    encode_at=COUNTS,
    dirty=COUNTS,
    queued=st.booleans(),
    scored=COUNTS,
    _last=st.dictionaries(NAMES, NUMBERS, max_size=3),
    texts_put=COUNTS,
    texts_taken=COUNTS,
    aliases=st.lists(NAMES, max_size=20),
)


@given(STATES)
def test_a_user_record_is_read_back_as_it_was(state: UserState) -> None:
    data = layout.encode_user(state)
    back = layout.decode_user(data)
    assert back == state
    assert list(back.ids) == list(state.ids)  # in order of arrival: the oldest is forgotten first
    assert layout.encode_user(back) == data
    assert layout.due_of(data) == state.due
    assert layout.has_timer(data) == (state.due != NEVER)


@given(STATES, st.integers(0, 200))
def test_compiled_or_not_a_user_record_has_the_same_bytes(state: UserState, ids: int) -> None:
    for number in range(ids):
        state.ids.add(number << 32, number)
    assert layout.encode_user(state) == layout.plain_encode_user(state)


#: one of each length of integer, both ways, and what does not fit
WHOLE = [sign * 2**power + off for power in (0, 5, 7, 8, 15, 16, 31, 32, 62) for sign in (1, -1) for off in (-1, 0, 1)]


def test_numbers_and_lengths_of_all_sizes_have_the_same_bytes() -> None:
    numbers: list[float | bool | None] = [
        *WHOLE,
        2**63,
        2**64 - 1,
        -(2**63),
        math.nan,
        -math.inf,
        1e-320,
        True,
        False,
        None,
    ]
    for number in numbers:
        state = UserState(count=number)  # type: ignore[arg-type]
        assert layout.encode_user(state) == layout.plain_encode_user(state)
    for size in (0, 1, 15, 16, 31, 32, 255, 256, 65_535, 65_536, 70_000):
        state = UserState(
            aliases=["x" * size, "ü" * (size // 2)], _edges={f"{number}": 0.5 for number in range(size)},
            _decayed={"view": [0.5] * size}, _tallies={"t": Tally(1, 2, dict.fromkeys(range(size), size))},
            ids=Seen(dict.fromkeys(range(min(size, 30000)), 1)),
        )  # fmt: skip
        assert layout.encode_user(state) == layout.plain_encode_user(state)


def test_what_is_of_an_unusual_type_is_encoded_or_refused_as_in_python() -> None:
    class Name(str):
        __slots__ = ()

    unusual: list[dict[Any, Any]] = [
        {Name("v"): 1.0}, {"v": (1.0, 2)}, {b"v": 1.0}, {"v": b"bytes"}, {True: 1.0}, {"v": {"deep": [[[[[[[[]]]]]]]]}},
    ]  # fmt: skip
    for edges in unusual:
        state = UserState(_edges=edges)
        assert layout.encode_user(state) == layout.plain_encode_user(state)
    endless: list[object] = []
    endless.append(endless)
    for value in (2**64, -(2**63) - 1, object(), "\ud800", endless):
        for encode in (layout.encode_user, layout.plain_encode_user):
            with pytest.raises((OverflowError, TypeError, UnicodeEncodeError, RecursionError, NotImplementedError)):
                encode(UserState(sequence=value))  # type: ignore[arg-type]


@given(st.dictionaries(NAMES, st.tuples(STATES, st.integers(0, 150), st.booleans()), max_size=4))
def test_compiled_or_not_the_users_of_a_turn_give_the_same_records(
    users: dict[str, tuple[UserState, int, bool]],
) -> None:
    dues: dict[str, float] = {}
    for user, (state, ids, known) in users.items():
        for number in range(ids):
            state.ids.add(number << 32, number)
        if known:
            dues[user] = state.due
    found = []
    for put in (layout.put_users, layout.plain_put_users):
        states = {
            user: msgspec.structs.replace(state, ids=Seen.unpack(state.ids.pack()))
            for user, (state, _, _) in users.items()
        }
        for user, (state, _, _) in users.items():
            states[user].ids.unsaved = dict(state.ids.unsaved)
        puts: dict[bytes, bytes | None] = {b"first": None}
        timed: set[bytes] = set()
        figures = put(states, dues, puts, timed)
        assert figures[2] == sum(len(value) for value in puts.values() if value is not None)
        assert not any(state.ids.unsaved for state in states.values())
        found.append((list(puts.items()), timed, figures))
    assert found[0] == found[1]


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
    decoders = (
        layout.decode_user,
        layout.decode_vectors,
        layout.decode_neighbour,
        layout.decode_meta,
        layout.decode_text,
    )
    for decode in decoders:
        with pytest.raises(layout.FormatError, match="format 2, this version reads 1"):
            decode(b"\x02rest")


def test_a_record_of_a_later_release_with_more_fields_is_still_read() -> None:
    data = layout.encode_neighbour(Neighbour(1, 2, b"n", b"h"))
    longer = data[:1] + bytes([data[1] + 1]) + data[2:] + b"\x07"
    assert layout.decode_neighbour(longer) == Neighbour(1, 2, b"n", b"h")
