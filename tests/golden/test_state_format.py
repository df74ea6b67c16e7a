"""The bytes of format 1, checked in: whoever changes a layout sees it here, and must raise ``layout.FORMAT``."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from state import layout, waiting
from state.seen import CHUNK, Seen
from state.user import Membership, PendingLabel, PendingText, UserState
from state.vectors import Neighbour, Vectors
from state.windows import NEVER, Tally

FILE = Path(__file__).with_name("state_format_1.txt")

USER = UserState(
    time=1_700_000_100.5,
    first=1_700_000_000.25,
    count=3,
    sequence=2,
    _decayed={"view": [1_700_000_100.5, 1.5, 1.75], "$spend": [1_700_000_000.25, 19.99, 19.99]},
    _categories={7: [1_700_000_100.5, 5.0]},
    _tallies={"purchase|amount|3600|sale": Tally(19_990_000, 14_166_666, {14_166_666: 19_990_000})},
    ids=Seen({2**64 - 1: 1_700_000_000, 5: 1_700_000_100}),
    _edges={"v": 1_700_000_050.0, "用户": -1_700_000_060.0},
    _groups={"g\0": 1_700_000_070.0},
    pending=[PendingText("e1", 1_700_000_100.5, "schön 🙂", 1_700_000_101.0)],
    labels=[PendingLabel("taste-food", True, 0.5)],
    texts=1,
    _members={
        "regulars": Membership(1_700_000_000.25, 1.0, 1, 1),
        "taste-food": Membership(1_700_000_100.5, 0.75, 2, 2, 0.25),
    },
    due=1_700_003_720.0,
    plan=2**53 - 1,
    encode_at=4,
    dirty=3,
    queued=True,
    scored=9,
    life=6,
)
#: with the fields that came later
USER_2 = msgspec.structs.replace(
    USER,
    pending=[],
    _last={"click|shoes": 1_700_000_100.5, "purchase|": -1_700_000_000.25, "view|": 0.0},
    texts_put=3,
    texts_taken=1,
    erased=1_600_000_000.5,
)
TEXT = PendingText("e1", 1_700_000_100.5, "schön 🙂", 1_700_000_101.0)
VECTORS = Vectors(
    text_sum=b"\x00\x00\x80?",
    text_time=1_700_000_100.5,
    behaviour=b"\x01<",
    text=b"\x02<",
    social=b"\x03<",
    node=b"\x04<",
    hidden=b"\x05<",
    sent_node=b"\x06<",
    sent_hidden=b"\x07<",
    version=3,
    subscribers=[0, 300],
    encoder="f8f6c5bd",
    encoded_time=1_700_000_101.0,
)
META = layout.Meta(
    positions={"user-events": 1_234_567, "segment-labels": 8},
    watermark=1_700_000_100.5,
    users=1,
    events=3,
    duplicates=1,
    changes=2,
    members={"regulars": 1},
)
GUARD = layout.Guard(1_700_000_100.5, 1_700_000_200.25, 7)
META_2 = msgspec.structs.replace(META, guards=4, queued=1)
USER_3 = msgspec.structs.replace(USER_2, aliases=["anonymous-1"])
META_3 = msgspec.structs.replace(META_2, aliases=1)
META_4 = msgspec.structs.replace(
    META_3,
    installation=layout.Installation("shop-", "segments", 8, "murmur2", {"shop-user-events": "4mWvSUVYQpKB4yCWBY1nbQ"}),
    lost=5,
    refused={"not-json": 3},
)
USER_4 = msgspec.structs.replace(USER_3, plan=7, _unknown={"purchase|count|86400|": 1_700_000_000.25}, known_at=1.75e9)
USER_5 = msgspec.structs.replace(USER_4, identified=False)
META_5 = msgspec.structs.replace(
    META_4, definitions=3, fingerprint=2**53 - 1, epoch=7, swept=6, terms={"view|count|3600|": 1, "@click|shoes": 7}
)
META_6 = msgspec.structs.replace(META_5, waiting=2)
WAITING = waiting.WaitingEvent(b'{"user":"u"}', "user-events", 3, 17, 1_700_000_000_123)
META_7 = msgspec.structs.replace(META_6, sequence_floor=12)
ALIAS = layout.Alias("用户", 1_700_000_100.5, 4, Seen({2**64 - 1: 1_700_000_000}))


def full_chunk() -> bytes:
    seen = Seen()
    for number in range(CHUNK):
        seen.add(2**64 - 1 - number, 1_700_000_000 + number)
    return seen.unsaved[0] or b""


#: what only earlier releases wrote
OLD = (
    "user",
    "user-new",
    "meta",
    "user-2",
    "user-new-2",
    "meta-2",
    "user-3",
    "user-new-3",
    "meta-3",
    "user-4",
    "user-new-4",
    "meta-4",
    "alias",
    "user-5",
    "user-new-5",
    "meta-5",
    "meta-6",
)
#: name → bytes of now
RECORDS = {
    "user-6": layout.encode_user(USER_5),
    "user-new-6": layout.encode_user(UserState()),
    "seen": full_chunk(),
    "text": layout.encode_text(TEXT),
    "vectors": layout.encode_vectors(VECTORS),
    "vectors-new": layout.encode_vectors(Vectors()),
    "neighbour": layout.encode_neighbour(Neighbour(2, 7, b"\x04<", b"\x05<")),
    "meta-7": layout.encode_meta(META_7),
    "waiting": waiting.encode_waiting(WAITING),
    "alias-2": layout.encode_alias(ALIAS),
    "guard": layout.encode_guard(GUARD),
    "moment": layout.encode_moment(1_700_000_100.5),
    "offset": layout.encode_offset(1_234_567_890_123),
    "key-user": layout.user_key("用户"),
    "key-vectors": layout.vectors_key("用户"),
    "key-queue": layout.queue_key("用户"),
    "key-alias": layout.alias_key("用户"),
    "key-neighbour": layout.neighbour_key("用户"),
    "key-refresh": layout.refresh_key("用户"),
    "key-head": layout.head_key("taste"),
    "key-follower": layout.follower_key("用户", "u"),
    "key-timer": layout.timer_key(1_700_003_720.0625, b"u"),
    "key-timer-never": layout.timer_key(NEVER, b"u"),
    "key-guard": layout.guard_key(bytes(range(16))),
    "key-scrub-wanted": layout.SCRUB_WANTED_KEY,
    "key-scrub-done": layout.SCRUB_DONE_KEY,
    "key-text": layout.text_keys("用户", 258, 259)[0],
    "key-seen": layout.seen_keys("用户", [258])[0],
    "key-waiting": waiting.waiting_key(1_700_000_000_456, "用户", 2**64 - 1),
    "key-waiting-own": waiting.own_key(waiting.waiting_key(1_700_000_000_456, "用户", 2**64 - 1)),
    "key-position": layout.POSITION_KEY,
    "key-offset": layout.OFFSET_KEY,
    "key-changelog": layout.CHANGELOG_KEY,
}


def golden() -> dict[str, bytes]:
    lines = FILE.read_text("utf-8").splitlines()
    pairs = (line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: bytes.fromhex(digits) for name, digits in pairs}


def test_the_format_is_the_one_of_the_file() -> None:
    assert layout.FORMAT == 1
    assert set(golden()) == set(RECORDS) | set(OLD)


@pytest.mark.parametrize("name", RECORDS)
def test_bytes_are_as_they_were(name: str) -> None:
    assert RECORDS[name].hex() == golden()[name].hex()


def test_old_bytes_are_read_as_they_were_meant() -> None:
    old = golden()
    assert layout.decode_user(old["user"]) == USER
    assert layout.due_of(old["user"]) == USER.due
    assert layout.decode_user(old["user-new"]) == UserState()
    assert not layout.has_timer(old["user-new"])
    assert layout.decode_vectors(old["vectors"]) == VECTORS
    assert layout.decode_vectors(old["vectors-new"]) == Vectors()
    assert layout.decode_neighbour(old["neighbour"]) == Neighbour(2, 7, b"\x04<", b"\x05<")
    assert layout.decode_meta(old["meta"]) == META
    assert layout.decode_guard(old["guard"]) == GUARD
    assert layout.decode_moment(old["moment"]) == 1_700_000_100.5
    assert layout.decode_user(old["user-2"]) == USER_2
    assert layout.decode_text(old["text"]) == TEXT
    assert layout.decode_meta(old["meta-2"]) == META_2
    assert layout.decode_user(old["user-new-2"]) == UserState()
    assert layout.decode_user(old["user-3"]) == USER_3
    assert layout.decode_user(old["user-new-3"]) == UserState()
    assert layout.decode_user(old["user-4"]) == USER_3
    assert layout.decode_meta(old["meta-3"]) == META_3
    assert layout.decode_user(old["user-5"]) == USER_4
    assert layout.decode_user(old["user-6"]) == USER_5
    assert layout.decode_meta(old["meta-7"]) == META_7
    assert layout.decode_user(old["user-new-6"]) == UserState()
    assert layout.decode_meta(old["meta-6"]) == META_6
    assert layout.decode_user(old["user-new-4"]) == layout.decode_user(old["user-new-5"]) == UserState()
    assert layout.decode_meta(old["meta-5"]) == META_5
    assert layout.decode_meta(old["meta-4"]) == META_4
    assert waiting.decode_waiting(old["waiting"]) == WAITING
    assert layout.decode_alias(old["alias"]) == ALIAS
    assert layout.decode_alias(old["alias-2"]) == ALIAS
    assert layout.decode_offset(old["offset"]) == (1_234_567_890_123, 0.0)
    assert layout.timer_parts(old["key-timer"]) == (1_700_003_720.063, b"u")
