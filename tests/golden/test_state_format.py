"""The bytes of format 1, checked in: whoever changes a layout sees it here, and must raise ``layout.FORMAT``."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from state import layout
from state.user import Membership, PendingLabel, PendingText, UserState
from state.vectors import Neighbour, Vectors
from state.windows import NEVER, Tally

FILE = Path(__file__).with_name("state_format_1.txt")

USER = UserState(
    time=1_700_000_100.5,
    first=1_700_000_000.25,
    count=3,
    sequence=2,
    decayed={"view": [1_700_000_100.5, 1.5, 1.75], "$spend": [1_700_000_000.25, 19.99, 19.99]},
    categories={7: [1_700_000_100.5, 5.0]},
    tallies={"purchase|amount|3600|sale": Tally(19_990_000, 14_166_666, {14_166_666: 19_990_000})},
    seen={2**64 - 1: 1_700_000_000, 5: 1_700_000_100},
    edges={"v": 1_700_000_050.0, "用户": -1_700_000_060.0},
    groups={"g\0": 1_700_000_070.0},
    pending=[PendingText("e1", 1_700_000_100.5, "schön 🙂", 1_700_000_101.0)],
    labels=[PendingLabel("taste-food", True, 0.5)],
    texts=1,
    members={
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
#: with the fields that came later
USER_NOW = replace(USER, aliases=["anonymous-1"])
META_NOW = replace(META, lives=6, aliases=1)
ALIAS = layout.Alias("用户", 1_700_000_100.5, 4, {2**64 - 1: 1_700_000_000})
#: written before fields were added: only read
OLD = {"user", "user-new", "meta"}
#: name → bytes of now; lines that end in -now change when a field is added
RECORDS = {
    "user-now": layout.encode_user(USER_NOW),
    "user-new-now": layout.encode_user(UserState()),
    "vectors": layout.encode_vectors(VECTORS),
    "vectors-new": layout.encode_vectors(Vectors()),
    "neighbour": layout.encode_neighbour(Neighbour(2, 7, b"\x04<", b"\x05<")),
    "meta-now": layout.encode_meta(META_NOW),
    "alias": layout.encode_alias(ALIAS),
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
    "key-position": layout.POSITION_KEY,
    "key-offset": layout.OFFSET_KEY,
}


def golden() -> dict[str, bytes]:
    lines = FILE.read_text("utf-8").splitlines()
    pairs = (line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: bytes.fromhex(digits) for name, digits in pairs}


def test_the_format_is_the_one_of_the_file() -> None:
    assert layout.FORMAT == 1
    assert set(golden()) == set(RECORDS) | OLD


@pytest.mark.parametrize("name", RECORDS)
def test_bytes_are_as_they_were(name: str) -> None:
    assert RECORDS[name].hex() == golden()[name].hex()


def test_old_bytes_are_read_as_they_were_meant() -> None:
    old = golden()
    assert layout.decode_user(old["user"]) == USER
    assert layout.decode_user(old["user-now"]) == USER_NOW
    assert layout.decode_meta(old["meta-now"]) == META_NOW
    assert layout.decode_alias(old["alias"]) == ALIAS
    assert layout.due_of(old["user"]) == USER.due
    assert layout.decode_user(old["user-new"]) == UserState()
    assert not layout.has_timer(old["user-new"])
    assert layout.decode_vectors(old["vectors"]) == VECTORS
    assert layout.decode_vectors(old["vectors-new"]) == Vectors()
    assert layout.decode_neighbour(old["neighbour"]) == Neighbour(2, 7, b"\x04<", b"\x05<")
    assert layout.decode_meta(old["meta"]) == META
    assert layout.decode_offset(old["offset"]) == 1_234_567_890_123
    assert layout.timer_parts(old["key-timer"]) == (1_700_003_720.063, b"u")
