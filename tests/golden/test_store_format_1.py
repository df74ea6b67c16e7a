"""A partition that the last release of format 1 wrote, checked in: it is opened, goes on, and is right to the end.

``store_format_1.xz`` is msgpack of (topic, key, value, headers, seconds) of all topics, the changelog as what was left
of it: 1,400 records of the load of ``tests.chaos``, users with more ids than a record has room for, merged, erased,
waiting for the encoder. It was made once, by the code of that release.
"""

from __future__ import annotations

import json
import lzma
from collections import Counter
from itertools import islice
from pathlib import Path

import msgspec
import pytest

from state import layout
from state.store import SharedMemory, Store
from streams.kafka.writer import PartitionWriter
from streams.settings import Settings
from tests.chaos.load import RULES, Sent, load
from tests.helpers import APP
from tests.recorded import TOPICS, Recorded
from tests.verifier import Findings, compare
from tests.verifier.memory import Memory, Written, of
from tests.verifier.records import Held, mark_of, read_user
from tests.verifier.rules import terms_of

FILE = Path(__file__).with_name("store_format_1.xz")
STEP = 0.5
OLD_CHUNK_BYTES = 64 * 12


def as_it_was() -> list[Written]:
    rows = msgspec.msgpack.decode(lzma.decompress(FILE.read_bytes()))
    return [
        Written(topic, key, value, tuple((name, value) for name, value in headers), time)
        for topic, key, value, headers, time in rows
    ]


def changelog(written: list[Written]) -> dict[bytes, bytes]:
    return {record.key: record.value or b"" for record in of(written, TOPICS.changelog)}


@pytest.fixture
def opened() -> Recorded:
    """The partition, in the hands of this release."""
    written = as_it_was()
    cluster = Recorded(max(record.time for record in written))
    cluster.written = written
    partition = cluster.partition
    partition.memory.data = changelog(written)
    partition.meta = layout.decode_meta(partition.memory.data[layout.POSITION_KEY])
    return cluster


def formats(cluster: Recorded) -> Counter[int]:
    return Counter(value[0] for key, value in cluster.partition.memory.data.items() if key[:1] == b"u")


def check(cluster: Recorded) -> Findings:
    return compare(Memory(cluster.whole()), APP, "", RULES, 0.0)


def more(cluster: Recorded, count: int) -> list[Sent]:
    """What comes after the change of releases."""
    every = load(77, 220, lambda: cluster.now, name="later")
    return [*islice((each for each in every if not each.label), count)]


def test_the_file_has_what_an_installation_may_have() -> None:
    records = changelog(as_it_was())
    families = Counter(key[:1] for key in records)
    assert families.keys() >= {b"u", b"d", b"a", b"e", b"w", b"q", b"v", b"n", b"f", b"p"}
    assert families[b"u"] > 200
    assert all(value[0] == 1 for key, value in records.items() if key[:1] in (b"u", b"a", b"p"))
    assert FILE.stat().st_size < 100_000


def test_it_goes_on_in_format_2_as_if_nothing_had_been(opened: Recorded) -> None:
    before = formats(opened)[1]
    duplicates = opened.partition.meta.duplicates
    again = [Sent(each.key, each.value or b"") for each in of(opened.written, TOPICS.events) if each.key == b"u-bee"]
    opened.send(again, 50, 0.0)  # all that one user has ever sent, once more
    assert len(again) == 300
    assert opened.partition.meta.duplicates == duplicates + 300
    for _ in range(6):
        opened.send(more(opened, 100), 50, STEP)
        opened.partition.restart()
    assert 0 < formats(opened)[1] < before  # who did nothing since is left as it was
    opened.settle()
    found = check(opened)
    assert found.differences == []
    assert found.proved > 1_000
    assert found.erased > 0
    assert found.dead_letters > 20


def test_once_everybody_has_been_here_no_record_is_left_in_format_1(opened: Recorded) -> None:
    users = [key[1:].decode() for key in opened.partition.memory.keys(b"u")]
    visit = {"kind": "view", "time": opened.now}
    opened.send(
        [Sent(user.encode(), json.dumps({**visit, "user": user, "id": f"visit-{user}"}).encode()) for user in users],
        40, 0.0,
    )  # fmt: skip
    opened.settle()
    assert formats(opened).keys() == {2}
    prefix = layout.seen_keys("u-bee", [0])[0][:-8]
    sizes = {len(opened.partition.memory.data[key]) for key in opened.partition.memory.keys(prefix)}
    assert sizes == {OLD_CHUNK_BYTES}  # records of ids stay as they are for as long as they matter
    assert check(opened).differences == []


def test_each_user_is_the_one_that_it_was(opened: Recorded) -> None:
    """Read by the engine and written again; read before and after by who knows nothing of it."""
    for key, value in opened.partition.memory.data.items():
        if key[:1] == b"u":
            state = opened.partition.state(key[1:].decode())
            assert state is not None
            was, now = read_user(value), read_user(state.pack())
            assert sums(now) == pytest.approx(sums(was), rel=1e-9, abs=1e-9)
            assert in_windows(now) == in_windows(was)
            for each in (was, now):
                each.decayed, each.categories, each.tallies = {}, {}, {}
            assert now == was


def in_windows(held: Held) -> dict[str, dict[int, int]]:
    """What is counted at the user's time; format 1 may have more that is over."""
    found: dict[str, dict[int, int]] = {}
    for key, term in terms_of(RULES).items():
        if (tally := held.tallies.get(mark_of(key))) is not None:
            alive = {bucket: amount for bucket, amount in tally.buckets.items() if term.alive(bucket, held.time)}
            found |= {key: alive} if alive else {}
    return found


def sums(held: Held) -> dict[str, float]:
    """Decayed numbers at the user's time."""
    found = {}
    for name, (since, *values) in held.decayed.items():
        for half, value in zip((86_400.0, 30 * 86_400.0), values, strict=True):
            found[f"{name} {half}"] = value * 2.0 ** ((since - held.time) / half)
    for bucket, (since, value) in held.categories.items():
        found[str(bucket)] = value * 2.0 ** ((since - held.time) / (30 * 86_400.0))
    return found


def test_a_store_of_it_is_opened_with_its_timers_and_users(tmp_path: Path, opened: Recorded) -> None:
    partition = opened.partition
    memory = SharedMemory(8)
    store = Store(tmp_path / "0", memory)
    store.write(partition.memory.data.items(), 4_711)
    writer = PartitionWriter(Settings(data_dir=tmp_path), lambda: partition.definitions, partition.place, memory)
    writer._begin(store)
    assert writer.meta == partition.meta
    assert writer.due.next == min(
        layout.due_of(value) for key, value in partition.memory.data.items() if key[:1] == b"u"
    )
    for user in ("u0", "u-bee", "u7"):
        state, expected = writer.state_of(user), partition.state(user)
        assert state is not None
        assert expected is not None
        assert state.pack() == expected.pack()
    assert set(writer.queued_users("", 100)) == {key[1:].decode() for key in partition.memory.keys(b"q")}
    (alias, *_) = partition.memory.keys(b"a")
    assert writer.alias_of(alias[1:].decode()) is not None
    store.close()
