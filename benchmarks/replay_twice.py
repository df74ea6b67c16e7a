"""Replays a source twice into fresh topics and compares what came out; in the service and in the deterministic mode.

    python -m benchmarks.replay_twice stackexchange --json benchmarks/out/replay_stackexchange.json
    python -m benchmarks.replay_twice complete-journey --limit 200000 --json benchmarks/out/replay_complete_journey.json

The service's two runs must agree in every change of rule segments and in the final membership of all; the
deterministic mode's two in everything but the time of processing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Any

from benchmarks.harness import machine, write_json
from streams.auditing import run_audit
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.settings import Settings
from streams.steps.segments import DEMO, load_plan
from streams.tools.child import child_worker, free_port
from streams.tools.reader import TopicReader
from streams.tools.replay import replay
from streams.tools.sources import CompleteJourney, Source, StackExchange
from streams.wire.topics import Topics

Change = dict[str, Any]
#: the built-in rules, and descriptions that fit what each source's people write about
SEGMENTS = """
[[segment]]
id = "algorithms"
words = "people who explain quantum algorithms and circuits"

[[segment]]
id = "hardware"
words = "people interested in building quantum computers, qubits and cooling"
"""


def segments_file(directory: Path) -> Path:
    """The built-in definitions and SEGMENTS, as a file."""
    path = directory / "segments.toml"
    path.write_text(files("streams.tools").joinpath("segments.toml").read_text() + SEGMENTS)
    return path


def read(bootstrap: str, topic: str) -> list[tuple[bytes, bytes | None, dict[str, bytes]]]:
    """All committed records of a topic, partition by partition: key, value, headers."""
    with TopicReader({"bootstrap.servers": bootstrap}, topic, from_start=True, group="compare") as reader:
        records = reader.read_to_end(600.0)
    records.sort(key=lambda record: record.partition() or 0)  # those of a partition stay in their order
    found: list[tuple[bytes, bytes | None, dict[str, bytes]]] = []
    for record in records:
        headers: Any = dict(record.headers() or [])
        found.append((record.key() or b"", record.value(), headers))
    return found


class Outcome:
    """The public output of one run."""

    def __init__(self, bootstrap: str, topics: Topics) -> None:
        rules = {segment.id for segment in load_plan(DEMO).rules}
        self.changes: list[Change] = [json.loads(value or b"") for _, value, _ in read(bootstrap, topics.changes)]
        for change in self.changes:
            del change["processed_at"]
        # by user and order within the user: partitions and users interleave freely; the sequence counts all segments
        self.rule_changes = sorted(
            (
                {name: value for name, value in change.items() if name != "sequence"} | {"place": place}
                for place, change in enumerate(self.changes)
                if change["segment"] in rules
            ),
            key=lambda change: (change["user"], change["place"]),
        )
        for change in self.rule_changes:
            del change["place"]
        newest = {key: value for key, value, _ in read(bootstrap, topics.memberships)}
        self.members = {
            key.decode(): sorted(json.loads(value)["segments"]) for key, value in sorted(newest.items()) if value
        }
        self.refused = Counter(
            headers["reason-code"].decode() for _, _, headers in read(bootstrap, topics.dead_letters)
        )


def serve(broker: EmbeddedBroker, source: Source, name: str, directory: Path) -> tuple[Outcome, dict[str, Any]]:
    """One run of the service."""
    topics = Topics("twice", f"{name}-")
    conf = {"bootstrap.servers": broker.bootstrap}
    create_topics(conf, topics.specs(2), 1)
    settings = {"app": "twice", "bootstrap": broker.bootstrap, "topic_prefix": topics.prefix, "clock": "event",
                "data_dir": str(directory / name), "segments_file": str(segments_file(directory)),
                "text_precision": "float32"}  # fmt: skip
    with child_worker(free_port(), directory / f"{name}.log", **settings) as worker:
        worker.wait_ready(180.0)
        started = time.perf_counter()
        sent = replay(source, conf, topics)
        worker.wait_idle(sent.events, 3_600.0)
        seconds = time.perf_counter() - started
        status = worker.wait_settled(600.0)
    outcome = Outcome(broker.bootstrap, topics)
    report = {
        "sent": sent.events,
        "skipped_by_source": dict(sent.skipped),
        "counted": status["events_total"],
        "seconds": round(seconds, 1),
        "refused": dict(outcome.refused),
        "changes": len(outcome.changes),
        "rule_changes": len(outcome.rule_changes),
        "users_in_a_segment": len([1 for segments in outcome.members.values() if segments]),
        "segments": dict(Counter(segment for segments in outcome.members.values() for segment in segments)),
    }
    return outcome, report


def audit(broker: EmbeddedBroker, source: Source, name: str, directory: Path) -> tuple[Outcome, dict[str, Any]]:
    """One run of the deterministic mode."""
    topics = Topics("twice", f"{name}-")
    conf = {"bootstrap.servers": broker.bootstrap}
    create_topics(conf, topics.specs(1), 1)
    replay(source, conf, topics)
    settings = Settings(
        app="twice",
        bootstrap=broker.bootstrap,
        topic_prefix=topics.prefix,
        clock="event",
        data_dir=directory / name,
        segments_file=segments_file(directory),
        text_precision="float32",
    )
    started = time.perf_counter()
    done = run_audit(settings, 1_000, scope=None)
    outcome = Outcome(broker.bootstrap, topics)
    return outcome, {
        "counted": done.events,
        "seconds": round(time.perf_counter() - started, 1),
        "changes": len(outcome.changes),
    }


def differences(first: list[Change], second: list[Change]) -> int:
    """Places at which two lists differ, with what one has more."""
    return sum(one != other for one, other in zip(first, second, strict=False)) + abs(len(first) - len(second))


def run(source: Source) -> dict[str, Any]:
    """Two runs of the service, two of the deterministic mode."""
    with tempfile.TemporaryDirectory(prefix="segments-twice-") as name, EmbeddedBroker(Path(name) / "kafka") as broker:
        directory = Path(name)
        (one, first), (two, second) = (serve(broker, source, f"live{number}", directory) for number in (1, 2))
        (exact, third), (same, fourth) = (audit(broker, source, f"audit{number}", directory) for number in (1, 2))
    return {
        "source": source.name,
        "service": [first, second],
        "rule_change_differences": differences(one.rule_changes, two.rule_changes),
        "final_membership_differences": sum(
            one.members.get(user) != two.members.get(user) for user in one.members.keys() | two.members.keys()
        ),
        "audit": [third, fourth],
        "audit_differences": differences(exact.changes, same.changes),
        "audit_final_membership_differs_from_service": sum(
            exact.members.get(user) != one.members.get(user) for user in one.members.keys() | exact.members.keys()
        ),
        "machine": machine(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("source", choices=["stackexchange", "complete-journey"])
    parser.add_argument("--data", type=Path, default=Path("../shared/data/stackexchange-quantumcomputing"))
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    given = parser.parse_args()
    source: Source = StackExchange(given.data) if given.source == "stackexchange" else CompleteJourney(given.limit)
    write_json(given.json, run(source))


if __name__ == "__main__":
    main()
