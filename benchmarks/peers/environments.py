"""A virtual environment for each peer, made once under ``.peers/``: their packages never meet ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import BenchmarkError, contestant

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".peers"
#: what the job itself needs, as we pin it
_JOB = ("msgspec==0.22.0", "xxhash==4.1.0")


@dataclass(frozen=True)
class Peer:
    """One contestant; ``module`` takes BOOTSTRAP TOPIC OUT COUNT DIRECTORY and ``extra``."""

    name: str
    module: str
    packages: tuple[str, ...]
    guarantee: str
    events: int
    """The most that it is given: a slow one needs fewer for the same time."""
    extra: tuple[str, ...] = ()


PEERS = (
    Peer(
        "bytewax",
        "benchmarks.peers.bytewax_flow",
        ("bytewax[kafka]==0.21.1",),
        "at least once (its strongest with Kafka as sink); state in memory, snapshots to local SQLite every 5 s",
        2_000_000,
    ),
    Peer(
        "quixstreams",
        "benchmarks.peers.quix",
        ("quixstreams==3.28.1",),
        "exactly-once: Kafka transactions every 5 s; RocksDB and changelog",
        500_000,
        ("exactly-once",),
    ),
    Peer(
        "faust-table",
        "benchmarks.peers.faust_table",
        (),  # stock Faust is in our own environment
        "exactly_once: Kafka transactions; rocksdict table and changelog",
        20_000,
        ("exactly_once", "2"),
    ),
)


def python_of(peer: Peer) -> Path:
    """The peer's interpreter; its environment is made when it is not there."""
    if not peer.packages:
        return Path(sys.executable)
    directory = HOME / peer.name
    python = directory / "bin" / "python"
    mark = directory / ".installed"
    wanted = "\n".join((*peer.packages, *_JOB))
    if not mark.is_file() or mark.read_text() != wanted:
        venv.create(directory, with_pip=True, clear=True)
        install = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *peer.packages, *_JOB]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            raise BenchmarkError(f"the environment of {peer.name} cannot be made: {done.stderr[-1000:]}")
        mark.write_text(wanted)
    return python


def versions(peer: Peer) -> dict[str, str]:
    """Version of each distribution that matters to the peer's speed."""
    wanted = [name.split("[")[0].split("==")[0] for name in (*peer.packages, *_JOB)]
    wanted += ["confluent-kafka", "rocksdict"] if peer.packages else ["faust-streaming", "aiokafka", "rocksdict"]
    code = (
        "import importlib.metadata as m, json, sys\n"
        "have = {d.metadata['Name'].lower(): d.version for d in m.distributions()}\n"
        "print(json.dumps({name: have[name] for name in sys.argv[1:] if name in have}))"
    )
    done = subprocess.run([str(python_of(peer)), "-c", code, *wanted], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def run(peer: Peer, bootstrap: str, topic: str, out: str, count: int, directory: Path) -> dict[str, Any]:
    """Let the peer work off ``count`` events of ``topic``; returns what its stop watch printed."""
    command = [str(python_of(peer)), "-m", peer.module, bootstrap, topic, out, str(count), str(directory), *peer.extra]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return contestant(peer.name, command, 900.0, cwd=ROOT, env=environment)
