"""A restored store is what its changelog says, however that lies in batches and whichever way it is taken in."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from state import layout
from state.store import SharedMemory, Store
from state.windows import NEVER
from streams.kafka import changelog, fetched, log_reader
from streams.kafka.changelog import RestoreError, restore
from tests.properties.test_fetched import ABORT, CODECS, COMMIT, Sent, batch
from tests.properties.test_loading import user
from tests.unit.test_log_reader import Log, marker

Said = tuple[bytes, bytes | None]
USERS = [layout.user_key(name) for name in ("a", "b", "a\0", "somebody with a long name")]
WAYS = pytest.mark.parametrize("bulk", [True, False], ids=["in bulk", "followed"])


@dataclass
class Transaction:
    said: list[Said]
    codec: int
    aborted: bool
    compacted: int
    """Of its first records, so many offsets are gone."""


SAID = st.one_of(
    st.tuples(st.sampled_from(USERS), st.sampled_from([5.0, 6.0, NEVER]).map(user)),
    st.tuples(st.sampled_from([*USERS, b"e1", b"p", b"v1"]), st.none()),
    st.tuples(st.sampled_from([b"e1", b"p", b"v1"]), st.binary(max_size=3)),
)
TRANSACTIONS = st.lists(
    st.builds(
        Transaction, st.lists(SAID, min_size=1, max_size=8), st.sampled_from(CODECS), st.booleans(), st.integers(0, 2)
    ),
    min_size=1,
    max_size=6,
)


@dataclass
class Changelog:
    """Batches and markers, and what was committed: (offset, key, value)."""

    log: Log
    committed: list[tuple[int, bytes, bytes | None]]
    end: int


def written(transactions: list[Transaction], most: int) -> Changelog:
    raws, aborted, committed, base = [], [], [], 0
    for each in transactions:
        sent: list[Sent] = [(each.compacted + at, 1, key, value, []) for at, (key, value) in enumerate(each.said)]
        after = base + each.compacted + len(sent)
        raws.append(batch(sent, base, each.codec, producer=7))
        raws.append(marker(ABORT if each.aborted else COMMIT, after))
        if each.aborted:
            aborted.append((7, base, after))
        else:
            committed += [(base + offset, key or b"", value) for offset, _, key, value, _ in sent]
        base = after + 1
    return Changelog(Log(raws, aborted, most), committed, base)


@contextmanager
def restoring(log: Changelog, bulk: bool) -> Iterator[Store]:
    """The store after the restore; the test says what may be raised."""
    with tempfile.TemporaryDirectory() as path, pytest.MonkeyPatch.context() as patch:
        patch.setattr(changelog, "KafkaSource", lambda *_: log.log)
        patch.setattr(changelog, "ask_bounds", lambda *_: (0, log.end))
        patch.setattr(changelog, "BULK_OFFSETS_EMPTY", 0 if bulk else 1 << 40)
        patch.setattr(log_reader, "PART_BYTES", 200)
        patch.setattr(fetched, "_AGAIN_AFTER", (0.0,))
        store = Store(Path(path) / "0", SharedMemory(8))
        try:
            yield store
        finally:
            store.close()


def run(store: Store) -> int:
    return restore({}, "log", 4, store, 9.0, lambda _: None, lambda: False)


def records(store: Store) -> dict[bytes, Any]:
    """What came from the changelog: without timers, and what the store notes for itself."""
    own = (layout.OFFSET_KEY, layout.SCRUB_WANTED_KEY)
    return {key: value for key, value in store.items(b"") if key[:1] != b"t" and key not in own}


def said_last(log: Changelog, before: int) -> dict[bytes, bytes]:
    found = {key: value for offset, key, value in log.committed if offset < before}
    return {key: value for key, value in found.items() if value is not None}


def timers(said: dict[bytes, bytes]) -> list[bytes]:
    dues = {key[1:]: layout.due_of(value) for key, value in said.items() if key[:1] == b"u"}
    return sorted(layout.timer_key(due, name) for name, due in dues.items() if due != NEVER)


@WAYS
@settings(deadline=None, max_examples=10)
@given(transactions=TRANSACTIONS, most=st.sampled_from([1, 300, 1 << 20]))
def test_a_store_is_what_was_committed_last(bulk: bool, transactions: list[Transaction], most: int) -> None:
    log = written(transactions, most)
    with restoring(log, bulk) as store:
        assert run(store) == len(log.committed)
        said = said_last(log, log.end)
        assert records(store) == said
        assert (store.changelog_offset, store.complete_at) == (log.end, 9.0)
        assert set(timers(said)) <= set(store.keys(b"t"))
        assert bulk or list(store.keys(b"t")) == timers(said)
        assert store.purge_timers(b"t", 1_000) is None
        assert list(store.keys(b"t")) == timers(said)
        erased = {key for _, key, value in log.committed if key[:1] == b"e" and value is not None}
        assert (store.erasures > 0) == bool(erased) or not bulk
        assert store.erasures or not erased & said.keys()
        assert run(store) == 0
        assert records(store) == said


@WAYS
@settings(deadline=None, max_examples=5)
@given(transactions=TRANSACTIONS, at=st.integers(0, 5))
def test_what_is_damaged_ends_a_restore_and_what_came_before_it_is_whole(
    bulk: bool, transactions: list[Transaction], at: int
) -> None:
    log = written(transactions, 1 << 20)
    raws = log.log.batches
    at = 2 * (at % len(transactions))
    raws[at] = raws[at][:-1] + bytes([raws[at][-1] ^ 1])
    with restoring(log, bulk) as store:
        with pytest.raises(RestoreError, match="log-4 is damaged"):
            run(store)
        if bulk:
            store.reopen()
        whole = transactions[: at // 2]
        assert store.changelog_offset <= sum(len(each.said) + each.compacted + 1 for each in whole)
        assert records(store) == said_last(log, store.changelog_offset)
        assert store.changelog_offset > 0 or all(each.aborted for each in whole)
