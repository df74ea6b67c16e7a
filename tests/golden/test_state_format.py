"""The bytes of all records but a user's of format 2 (see ``test_state_format_2``), checked in, and those of all
releases before: whoever changes a layout sees it here, and must raise a format's number."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from state import format1, layout, waiting
from state.absence import Sort
from state.aliases import Alias, alias_numbers, decode_alias, encode_alias
from state.layout2 import CHUNK, ID_MASK
from state.plain.ids import unpack_chunk
from state.plain.record import PlainRecord, unpack
from state.record import Record
from state.tables import ids_numbers, open_stored
from state.user import Membership, PendingLabel, PendingText
from state.vectors import Neighbour, Vectors
from state.windows import NEVER, TallySpec
from tests.format1 import Tally, User, encode_user, ids_of
from tests.records import told
from tests.small_partition import SmallPartition

FILE = Path(__file__).with_name("state_format_1.txt")
LAST_ID = 2**64 - 1
SALES = TallySpec("purchase", "amount", 3_600, "sale")
BUYS = TallySpec("purchase", "count", 86_400)
SORTS = (Sort("click", "shoes"), Sort("purchase"), Sort("view"))

USER = User(
    time=1_700_000_100.5,
    first=1_700_000_000.25,
    count=3,
    sequence=2,
    decayed={"view": [1_700_000_100.5, 1.5, 1.75], "$spend": [1_700_000_000.25, 19.99, 19.99]},
    categories={7: [1_700_000_100.5, 5.0]},
    tallies={"purchase|amount|3600|sale": Tally(19_990_000, 14_166_666, {14_166_666: 19_990_000})},
    ids=ids_of([(LAST_ID, 1_700_000_000), (5, 1_700_000_100)])[0],
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
#: with the fields that came later
USER_2 = msgspec.structs.replace(
    USER,
    pending=[],
    last={"click|shoes": 1_700_000_100.5, "purchase|": -1_700_000_000.25, "view|": 0.0},
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
USER_4 = msgspec.structs.replace(USER_3, plan=7, unknown={"purchase|count|86400|": 1_700_000_000.25}, known_at=1.75e9)
USER_5 = msgspec.structs.replace(USER_4, identified=False)
META_5 = msgspec.structs.replace(
    META_4, definitions=3, fingerprint=2**53 - 1, epoch=7, swept=6, terms={"view|count|3600|": 1, "@click|shoes": 7}
)
META_6 = msgspec.structs.replace(META_5, waiting=2)
WAITING = waiting.WaitingEvent(b'{"user":"u"}', "user-events", 3, 17, 1_700_000_000_123)
META_7 = msgspec.structs.replace(META_6, sequence_floor=12)
META_9 = msgspec.structs.replace(META_7, writer="shop-segments-w-0123456789abcdef")


def alias(*ids: tuple[int, float]) -> Alias:
    found = Alias("用户", 1_700_000_100.5, 4)
    for id_hash, arrived in ids:
        found.seen.add(id_hash, arrived)
    return found


ALIAS = alias((LAST_ID, 1_700_000_000))


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
    "user-6",
    "user-new-6",
    "seen",
    "meta-7",
    "meta-8",
    "alias-2",
)
#: name → bytes of now
RECORDS = {
    "text": layout.encode_text(TEXT),
    "vectors": layout.encode_vectors(VECTORS),
    "vectors-new": layout.encode_vectors(Vectors()),
    "neighbour": layout.encode_neighbour(Neighbour(2, 7, b"\x04<", b"\x05<")),
    "meta-9": layout.encode_meta(META_9),
    "waiting": waiting.encode_waiting(WAITING),
    "alias-3": encode_alias(ALIAS),
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


#: what was written of a user, and which user that was
USERS = {
    "user": USER,
    "user-2": USER_2,
    "user-3": USER_3,
    "user-4": USER_3,
    "user-5": USER_4,
    "user-6": USER_5,
    **{name: User() for name in ("user-new", *(f"user-new-{number}" for number in range(2, 7)))},
}


def test_the_format_is_the_one_of_the_file() -> None:
    assert (layout.FORMAT, layout.META_FORMAT) == (1, 2)
    assert set(golden()) == set(RECORDS) | set(OLD)
    assert {name for name in OLD if name.startswith("user")} == set(USERS)


@pytest.mark.parametrize("name", RECORDS)
def test_bytes_are_as_they_were(name: str) -> None:
    assert RECORDS[name].hex() == golden()[name].hex()


def meant(user: User) -> PlainRecord:
    """The record that says what ``user`` said, by verbs."""
    record = PlainRecord("u", user.plan % 1_000, user.life)
    record.enter(user.time)
    record.first, record.count, record.sequence = user.first, user.count, user.sequence
    for name, row in (("view", 0), ("$spend", 11)):
        if name in user.decayed:
            time, fast, slow = user.decayed[name]
            record.counters.begin(row, time, fast, slow)
    for bucket, (time, slow) in user.categories.items():
        record.counters.begin_category(bucket, time, slow)
    if user.tallies:
        record.cells.add(SALES, 1_700_000_000.25, 19_990_000, user.time)
        record.edges.set("v", 1_700_000_050.0, present=True)
        record.edges.set("用户", 1_700_000_060.0, present=False)
        record.groups.set("g\0", 1_700_000_070.0, present=True)
    if user.last:
        record.cells.note(SORTS[0], 1_700_000_100.5)
        record.cells.mark_unknown("@purchase|", 1_700_000_000.25)
    for key, until in user.unknown.items():
        record.cells.mark_unknown(key, until)
    packed = user.ids[2]
    assert isinstance(packed, bytes)
    for id_hash, arrived in format1.unpack_ids(packed):
        record.ids.add(id_hash, arrived)
    record.labels, record.aliases = user.labels, user.aliases
    for segment, member in user.members.items():
        record.members.put(segment, member)
    record.due, record.encode_at, record.dirty, record.queued = user.due, user.encode_at, user.dirty, user.queued
    record.scored, record.erased, record.known_at, record.identified = (
        user.scored, user.erased, user.known_at, user.identified,
    )  # fmt: skip
    record.texts, record.texts_put, record.texts_taken = user.texts, user.texts_put, user.texts_taken
    return record


def everything(record: Record) -> dict[str, object]:
    return told(record, (SALES, BUYS), SORTS)


@pytest.mark.parametrize("name", USERS)
def test_a_user_of_format_1_is_read_as_it_was_meant_and_goes_on_in_format_2(name: str) -> None:
    old, user = golden()[name], USERS[name]
    assert format1.is_format_1(old)
    assert layout.due_of(old) == user.due
    assert layout.has_timer(old) == (user.due != NEVER)
    assert ids_numbers(old) == range(0)
    record, texts = format1.read("u", old, [], lambda plan: plan % 1_000)
    assert list(texts) == list(user.pending)
    assert everything(record) == everything(meant(user))
    again = unpack("u", record.pack())
    assert everything(again) == everything(record)
    assert everything(open_stored("u", old, lambda plan: plan % 1_000)) == everything(record)


def test_tests_write_users_of_format_1_as_their_last_release_did() -> None:
    assert encode_user(USER_5).hex() == golden()["user-6"].hex()
    assert encode_user(User()).hex() == golden()["user-new-6"].hex()


def test_ids_of_format_1_are_cut_and_their_seconds_joined_by_sixteens() -> None:
    seconds = [1_700_000_000 + at - at % 16 + 15 for at in range(CHUNK)]
    ids = [(2**64 - 1 - at) & ID_MASK for at in range(CHUNK)]
    assert unpack_chunk(golden()["seen"]) == list(zip(ids, seconds, strict=True))


@pytest.mark.parametrize("name", ["alias", "alias-2", "alias-3"])
def test_a_forwarding_record_of_any_release_is_read_as_it_was_meant(name: str) -> None:
    found = decode_alias(golden()[name], [])
    assert (found.into, found.time, found.sequence) == (ALIAS.into, ALIAS.time, ALIAS.sequence)
    assert found.seen.items() == ALIAS.seen.items() == [(LAST_ID & ID_MASK, 1_700_000_000)]
    assert found.seen.numbers == alias_numbers(golden()[name]) == range(0)
    assert encode_alias(found) == golden()["alias-3"]


def test_the_other_records_of_all_releases_are_read_as_they_were_meant() -> None:
    old = golden()
    assert layout.decode_vectors(old["vectors"]) == VECTORS
    assert layout.decode_vectors(old["vectors-new"]) == Vectors()
    assert layout.decode_neighbour(old["neighbour"]) == Neighbour(2, 7, b"\x04<", b"\x05<")
    assert layout.decode_guard(old["guard"]) == GUARD
    assert layout.decode_moment(old["moment"]) == 1_700_000_100.5
    assert layout.decode_text(old["text"]) == TEXT
    assert waiting.decode_waiting(old["waiting"]) == WAITING
    assert layout.decode_offset(old["offset"]) == (1_234_567_890_123, 0.0)
    assert layout.timer_parts(old["key-timer"]) == (1_700_003_720.063, b"u")
    metas = (META, META_2, META_3, META_4, META_5, META_6, META_7, META_7, META_9)
    for number, meta in enumerate(metas, 1):
        assert layout.decode_meta(old["meta" if number == 1 else f"meta-{number}"]) == meta


def read_by_the_release_before(data: bytes) -> None:
    """What each release up to the last one of format 1 did before it looked at a position record any further."""
    if data[0] != 1:
        raise layout.FormatError(f"a state record has format {data[0]}, this version reads 1")


@pytest.mark.parametrize("name", ["meta", *(f"meta-{number}" for number in range(2, 8))])
def test_position_records_of_before_are_read_and_once_a_turn_has_ended_no_older_worker_reads_them(name: str) -> None:
    old = golden()[name]
    read_by_the_release_before(old)
    partition = SmallPartition("")
    partition.meta = layout.decode_meta(old)
    partition.meta.queued = 0
    partition.sweep()  # of nobody: not one user has been written yet
    assert not any(True for _ in partition.memory.keys(b"u"))
    now = partition.memory.data[layout.POSITION_KEY]
    assert layout.decode_meta(now).positions == layout.decode_meta(old).positions
    with pytest.raises(layout.FormatError, match="format 2, this version reads 1"):
        read_by_the_release_before(now)


def test_numbers_that_no_record_of_format_1_had_are_refused_in_words() -> None:
    for wrong in (
        msgspec.structs.replace(USER, categories={2**40: [1_700_000_100.5, 5.0]}),
        msgspec.structs.replace(USER, categories={-1: [1_700_000_100.5, 5.0]}),
        msgspec.structs.replace(USER, ids=(0, 2**64 - 1, b"")),
    ):
        data = encode_user(wrong)
        with pytest.raises(layout.FormatError):
            format1.read("u", data, None, lambda _: 0)
    with pytest.raises(layout.FormatError, match="damaged"):
        ids_numbers(data)


def test_a_format_to_come_is_named() -> None:
    for data in (b"\3", b"\3" + bytes(200)):
        with pytest.raises(layout.FormatError, match="format 3"):
            ids_numbers(data)
