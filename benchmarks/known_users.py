"""Users who are all known, against how many they are: ours as it ships and the Java peers, on the same topics.

Part of ``python -m benchmarks.scale --jvm``.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from typing import Any, Final

from benchmarks.harness import JOB, BenchmarkError, between, mean, produce, progress, rates, worker_settings
from benchmarks.in_turn import in_turn
from benchmarks.peers.jvm.contestants import JAVA_PEERS, build, missing
from benchmarks.peers.jvm.contestants import run as run_java
from benchmarks.sizes import MOST_AHEAD, Place, growth
from streams.kafka.admin import create_topics
from streams.tools.child import child_worker, free_port
from streams.wire.topics import Topics, TopicSpec

OURS: Final = "ours"
#: events of each user before, and of all at least: compilers are warm then
_BEFORE, _WARM = 2, 500_000
#: events that are measured: some commits of each, of which Flink makes one each five seconds
_EVENTS: Final = {OURS: 3_000_000, "kafka-streams": 1_500_000, "flink-heap": 8_000_000, "flink-rocksdb": 2_000_000}
#: where users are many all are slower
_MANY, _EVENTS_OF_MANY = 100_000, 4_000_000
#: of users in memory, so that all have room
_CACHE_MB: Final = 2_048


def ours(place: Place, prefix: str, partitions: int, before: int, count: int) -> dict[str, Any]:
    """A worker as it ships, but that all users find room in memory."""
    topics = Topics(OURS, prefix)
    create_topics({"bootstrap.servers": place.broker.bootstrap}, topics.specs(partitions), 1)
    given = worker_settings(
        place.broker.bootstrap, topics, place.directory / OURS, JOB,
        clock="event", cache_mb=str(_CACHE_MB), max_ahead_seconds=str(MOST_AHEAD),
    )  # fmt: skip
    with child_worker(free_port(), place.directory / f"{OURS}.log", **given) as worker:
        first, last = between(progress([worker], before + count, 600.0), before)
        sums = worker.metrics()
    return rates(first, last) | {
        "records_per_turn": round(mean(sums, "segments_batch_records")),
        "users_in_memory": round(sums["segments_users_cached"]),
    }


def beside(place: Place, sizes: Sequence[int], partitions: int, jvm: bool) -> dict[str, Any]:
    """Contestant → size → figures, and how many times the smallest size's cost the largest one's is.

    Whoever gives no figure (too few commits on this machine) is left out with the reason.
    """
    left_out = missing() if jvm else None
    peers = JAVA_PEERS if jvm and left_out is None else ()
    if peers:
        build()
    found: dict[str, dict[str, Any]] = {name: {} for name in (OURS, *(peer.name for peer in peers))}
    reasons = {"jvm": left_out} if left_out is not None else {}
    for users in sizes:
        prefix = f"known{users}-"
        topic = Topics(OURS, prefix).events
        create_topics({"bootstrap.servers": place.broker.bootstrap}, Topics(OURS, prefix).specs(partitions), 1)
        before = max(_BEFORE * users, _WARM) // users * users
        counts = {name: min(_EVENTS[name], _EVENTS_OF_MANY) if users > _MANY else _EVENTS[name] for name in found}
        records = in_turn(range(before + max(counts.values())), users, time.time())
        produce(place.broker.bootstrap, topic, records, 120.0)
        for name, of in found.items():
            out, count = f"{name}-{users}", counts[name]
            try:
                if name == OURS:
                    done = ours(place, prefix, partitions, before, count)
                else:
                    create_topics(
                        {"bootstrap.servers": place.broker.bootstrap}, [TopicSpec(out, "changes", partitions)], 1
                    )
                    peer = next(peer for peer in peers if peer.name == name)
                    directory = place.directory / out
                    done = run_java(peer, place.broker.bootstrap, topic, out, before + count, directory, before=before)
            except BenchmarkError as error:
                reasons[out] = str(error).splitlines()[0]
                print(f"{out}: {error}", file=sys.stderr, flush=True)
            else:
                of[str(users)] = done
                print(f"{out}: {done['cpu_microseconds_per_event']:.2f} µs an event", file=sys.stderr, flush=True)
            shutil.rmtree(place.directory / (OURS if name == OURS else out), ignore_errors=True)
    ratios = {name: growth(of) for name, of in found.items() if len(of) > 1}
    return {"peers": found, "peers_ratio": ratios, "events_before": _BEFORE, "left_out": reasons}
