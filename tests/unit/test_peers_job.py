"""The peers of the throughput benchmark do the work that the service does."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
import xxhash

from benchmarks.load import load
from benchmarks.peers import job
from state.kinds import FAST, ROW, SLOW
from state.plain.record import PlainRecord
from state.user import DUPLICATE, fold
from streams.steps.segments import load_plan
from streams.wire.decode import Limits, decode_event

SEGMENTS = Path(job.__file__).with_name("segments.toml")


@pytest.fixture(scope="module")
def records() -> list[bytes]:
    """Three weeks of 40 people, some records doubled, some late."""
    sent = list(enumerate(value for _, value in load(6_000, 40, "zipf", seed=5, rate=6_000 / (21 * 86_400))))
    draw = random.Random(5)
    sent += draw.sample(sent, 300)
    # up to a day late: across buckets, and out of the window of ten minutes
    return [value for _, value in sorted(sent, key=lambda pair: pair[0] + draw.uniform(0, 300))]


def test_the_peers_job_gives_the_memberships_changes_and_counters_of_the_services_fold(records: list[bytes]) -> None:
    plan, limits = load_plan(SEGMENTS), Limits()
    ours: dict[str, PlainRecord] = {}
    theirs: dict[str, job.User] = {}
    memory: dict[str, dict[str, None]] = {}
    exits = duplicates = 0
    for raw in records:
        event = decode_event(raw, 2e9, limits)
        state = ours.setdefault(event.user, PlainRecord(event.user))
        id_hash = xxhash.xxh3_64_intdigest(event.id.encode())
        duplicate = bool(fold(state, event, id_hash, plan.tallies, 2e9) & DUPLICATE)

        given = job.decode_event(raw)
        # what a peer keeps is read and written for each event, as by an engine with a store
        user = job.decode_user(job.encode_user(theirs.get(event.user, job.User())))
        assert job.seen_packed(user, given.id) == duplicate
        assert job.seen_in(memory.setdefault(event.user, {}), given.id) == duplicate
        if duplicate:
            duplicates += 1
            continue
        before = set(user.members)
        changes = [json.loads(change) for change in job.fold(user, given)]
        theirs[event.user] = user

        holds = {
            segment.id
            for segment in plan.segments.values()
            if segment.rule is not None and segment.rule.evaluate(state.cells, state.time) >= segment.enter
        }
        assert set(user.members) == holds
        assert {change["segment"] for change in changes} == before ^ holds
        exits += sum(change["change"] == "exited" for change in changes)
    assert exits > 20
    assert duplicates == 300

    for name, state in ours.items():
        user = theirs[name]
        assert (user.first, user.last, user.count) == (state.first, state.time, state.count)
        assert {ROW[key] for key in user.kinds} == set(state.counters.kinds)
        for key in user.kinds:
            at = state.time
            found = [
                value * 2 ** ((user.zero - at) / half_life)
                for value, half_life in zip(user.kinds[key], (FAST, SLOW), strict=True)
            ]
            assert found == pytest.approx(state.counters.kind(ROW[key], at))
        assert set(user.categories) == set(state.counters.categories)


def test_a_peer_forgets_ids_beyond_the_last_thousand_and_rebases_its_counters() -> None:
    user, ids = job.User(), dict[str, None]()
    for number in range(3_000):
        assert not job.seen_packed(user, f"e{number}")
        assert not job.seen_in(ids, f"e{number}")
    assert job.seen_packed(user, "e2000")
    assert not job.seen_packed(user, "e1999")
    assert job.seen_in(ids, "e2000")
    assert not job.seen_in(ids, "e0")

    years = 5 * 365 * 86_400.0
    for time in (1e9, 1e9 + years, 1e9 + years + job.FAST):
        job.fold(user, job.Event("u", "view", time, str(time)))
    at = (user.zero - user.last) / job.FAST
    assert user.kinds["view"][0] * 2**at == pytest.approx(1.5)
