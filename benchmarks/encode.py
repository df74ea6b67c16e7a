"""Comments a second through the whole service, and beside it the bare model in a loop on the same texts.

python -m benchmarks.encode --json benchmarks/out/encode.json
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import product
from pathlib import Path
from typing import Any

import psutil

from benchmarks.harness import (
    BenchmarkError,
    contestant,
    cpu_seconds,
    machine,
    produce,
    worker_settings,
    write_json,
)
from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import child_worker, free_port
from streams.tools.sources.stackexchange import rows
from streams.wire.topics import Topics

PREFIX = "bench-"
#: one description, so that every comment has to be encoded
SEGMENTS = """
[[segment]]
id = "quantum"
words = "quantum circuits, gates and algorithms"
"""
#: texts in a forward pass of the bare model; the service takes as many
BATCH = 32
_DUMP = "stackexchange-quantumcomputing/Comments.xml"
_LOOK_SECONDS = 0.1
_LIMIT_SECONDS = 900.0


def real_comments(count: int) -> list[str]:
    """Different comments of Stack Exchange, in the dump's order. Raises BenchmarkError if there are not so many."""
    path = Path(os.environ.get("SEGMENTS_DATA", "/work/shared/data")) / _DUMP
    if not path.is_file():
        raise BenchmarkError(f"no comments at {path}: SEGMENTS_DATA names the folder of data sets")
    texts = list(dict.fromkeys(text for row in rows(path) if (text := " ".join(row["Text"].split()))))
    if len(texts) < count:
        raise BenchmarkError(f"{path} has {len(texts)} different comments, not {count}")
    return texts[:: len(texts) // count][:count]


def events(texts: list[str], start: float) -> Iterator[tuple[bytes, bytes]]:
    """A comment of a user of its own for each text."""
    for number, text in enumerate(texts):
        user = f"user-{number:06d}"
        event = {"user": user, "kind": "comment", "time": start + number * 1e-3, "id": f"c{number}", "text": text}
        yield user.encode(), json.dumps(event).encode()


def service(bootstrap: str, app: str, count: int, directory: Path, **settings: str) -> dict[str, float]:
    """What one worker encodes a second, from its first batch on until it has encoded all."""
    topics, segments = Topics(app, PREFIX), directory / "segments.toml"
    given = worker_settings(bootstrap, topics, directory / app, segments, **settings)
    looks: list[tuple[float, float, float]] = []
    with child_worker(free_port(), directory / f"{app}.log", **given) as worker:
        worker.wait_ready()
        # the text encoder has a process of its own
        processes = [worker.pid, *(child.pid for child in psutil.Process(worker.pid).children())]
        until = time.monotonic() + _LIMIT_SECONDS
        while not looks or looks[-1][1] < count:
            if time.monotonic() > until:
                raise BenchmarkError(f"{looks[-1:]} of {count} texts after {_LIMIT_SECONDS:.0f} s:\n{worker.tail()}")
            time.sleep(_LOOK_SECONDS)
            encoded = worker.metrics()["segments_encoded_texts_total"]
            if encoded:
                looks.append((time.perf_counter(), encoded, sum(map(cpu_seconds, processes))))
        worker.wait_idle(count, 60.0)
    first, last = looks[0], looks[-1]
    if last[1] < 2 * first[1]:
        raise BenchmarkError("too few comments to measure: half of them were encoded before the first look")
    done = last[1] - first[1]
    return {
        "comments_per_second": done / (last[0] - first[0]),
        "cpu_milliseconds_per_comment": 1e3 * (last[2] - first[2]) / done,
    }


def bare(texts: Path, precision: str, threads: int) -> dict[str, Any]:
    """The model alone, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.encode_bare", str(texts), precision, str(threads), str(BATCH)]
    return contestant(f"the bare model in {precision}", command, _LIMIT_SECONDS)


def median(rounds: list[dict[str, Any]], key: str = "comments_per_second") -> float:
    return float(round(statistics.median(each[key] for each in rounds), 2))


def run(comments: int, rounds: int, threads: int, partitions: int) -> dict[str, Any]:
    """Service and bare model in turn, in each precision, ``rounds`` times."""
    import torch  # noqa: PLC0415 - only to see what the machine can do

    from encoders.int8 import exact  # noqa: PLC0415 - takes torch with it

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    # on a processor whose int8 products saturate the worker refuses int8
    others = ["bf16"] if gpu else ["int8"] if exact() else []
    precisions = ["float32", *others]
    texts = real_comments(comments)
    served: dict[str, list[dict[str, Any]]] = {precision: [] for precision in precisions}
    alone: dict[str, list[dict[str, Any]]] = {precision: [] for precision in precisions}
    with tempfile.TemporaryDirectory(prefix="segments-bench-") as name, EmbeddedBroker(Path(name) / "kafka") as broker:
        conf, directory = {"bootstrap.servers": broker.bootstrap}, Path(name)
        (directory / "segments.toml").write_text(SEGMENTS)
        (directory / "texts.json").write_text(json.dumps(texts))
        create_topics(conf, Topics("any", PREFIX).specs(partitions), 1)
        produce(broker.bootstrap, Topics("any", PREFIX).events, events(texts, time.time() - 60.0))
        for number in range(rounds):
            for precision in precisions:
                app = f"{precision}-{number}"
                create_topics(conf, Topics(app, PREFIX).specs(partitions), 1)
                settings = {"text_precision": precision, "torch_threads": str(threads)}
                served[precision].append(service(broker.bootstrap, app, len(texts), directory, **settings))
                alone[precision].append(bare(directory / "texts.json", precision, threads))
    blocks = {
        precision: {
            "comments_per_second": median(served[precision]),
            "bare_comments_per_second": median(alone[precision]),
            # of the same round, so that both had the machine in the same mood
            "ratio_to_bare": round(
                statistics.median(
                    own["comments_per_second"] / other["comments_per_second"]
                    for own, other in zip(served[precision], alone[precision], strict=True)
                ),
                3,
            ),
            "rounds": served[precision],
            "bare_rounds": alone[precision],
        }
        for precision in precisions
    }
    report: dict[str, Any] = {
        key: blocks["float32"][key] for key in ("comments_per_second", "bare_comments_per_second", "ratio_to_bare")
    }
    for other, (key, rates) in product(others, (("speedup", served), ("bare_speedup", alone))):
        pairs = zip(rates[other], rates["float32"], strict=True)
        report[f"{other}_{key}"] = round(
            statistics.median(fast["comments_per_second"] / slow["comments_per_second"] for fast, slow in pairs), 2
        )
    return report | {
        "precisions": blocks,
        "comments": len(texts),
        "torch_threads": threads,
        "batch": BATCH,
        "partitions": partitions,
        "gpu": gpu,
        "what": "different Stack Exchange comments, one words segment; bare: length-sorted batches, same model",
        "machine": machine() | {"transformers": version("transformers")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    parser.add_argument("--comments", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="torch's threads, in the service and in the loop")
    parser.add_argument("--partitions", type=int, default=2)
    given = parser.parse_args()
    write_json(given.json, run(given.comments, given.rounds, given.threads, given.partitions))


if __name__ == "__main__":
    main()
