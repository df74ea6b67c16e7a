"""A long search for records that break something.

python -m tests.fuzz --seed 1 --records 1000000 --json fuzz.json
python -m tests.fuzz --seed 1 --records 0 --service 50000
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.harness import machine, write_json
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import child_worker, free_port
from streams.wire.topics import Topics
from tests.fuzz.decoding import fuzz_decoders
from tests.fuzz.internal import fuzz_internal
from tests.fuzz.service import fuzz_service


def _decoders(seed: int, records: int, processes: int | None) -> dict[str, Any]:
    began = time.perf_counter()
    found = fuzz_decoders(seed, records, processes)
    return vars(found) | {"accounted": found.accounted, "seconds": round(time.perf_counter() - began, 1)}


def _service(seed: int, records: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="segments-fuzz-") as name, EmbeddedBroker(Path(name) / "kafka") as broker:
        topics = Topics("fuzz", "fuzz-")
        create_topics({"bootstrap.servers": broker.bootstrap}, topics.specs(2), 1)
        settings = {
            "app": topics.app,
            "bootstrap": broker.bootstrap,
            "topic_prefix": topics.prefix,
            "data_dir": str(Path(name) / "state"),
            "text_precision": "float32",
        }
        began = time.perf_counter()
        with child_worker(free_port(), Path(name) / "worker.log", **settings) as worker:
            worker.wait_ready()
            found = fuzz_service(broker.bootstrap, topics, worker, seed, records)
        return vars(found) | {"exit_status": worker.exit_status, "seconds": round(time.perf_counter() - began, 1)}


def main() -> int:
    """Exit status 1 when anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Mutated records through the service.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--records", type=int, default=1_000_000, help="through the decoders of events and labels")
    parser.add_argument("--internal", type=int, default=20_000, help="through the steps for internal topics")
    parser.add_argument("--service", type=int, default=0, help="through a worker on its own Kafka")
    parser.add_argument("--processes", type=int, default=None, help="default: one for each core")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    given = parser.parse_args()
    report: dict[str, Any] = {"seed": given.seed, "machine": machine()}
    good = True
    if given.records:
        report["decoders"] = _decoders(given.seed, given.records, given.processes)
        good &= report["decoders"]["accounted"] and not report["decoders"]["findings"]
    if given.internal:
        found = fuzz_internal(given.seed, given.internal)
        report["internal"] = vars(found) | {"accounted": found.accounted}
        good &= found.accounted
    if given.service:
        report["service"] = _service(given.seed, given.service)
        good &= not report["service"]["differences"] and report["service"]["exit_status"] == 0
    write_json(given.json, report)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
