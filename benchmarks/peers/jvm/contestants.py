"""Kafka Streams and Flink as an expert would set them up: built from the sources beside this file, run, measured.

They are measured as the service is: between two commits well inside the load.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.harness import BenchmarkError, Look, between, contestant, rates
from benchmarks.peers.environments import HOME

SOURCES: Final = Path(__file__).parent
BUILT: Final = HOME / "jvm"
_JAVA: Final = 17
#: seconds for one run
_PATIENCE: Final = 900.0
#: the largest Java heap, GiB, and the part of the machine's memory that it may be: a million users on Flink's heap
_HEAP, _PART = 8, 3
#: commits of Flink are five seconds apart: the time between two is already long
_COMMITS: Final = 2
_JAR: Final = re.compile(r"(.+?)-(\d.*)\.jar")
#: what Flink's own start script opens to it
_OPENED: Final = (
    *("lang", "lang.reflect", "lang.invoke", "math", "net", "io", "text", "time", "nio"),
    *("util", "util.concurrent", "util.concurrent.atomic", "util.concurrent.locks"),
)
_FLINK: Final = (
    *(f"--add-opens=java.base/java.{package}=ALL-UNNAMED" for package in _OPENED),
    "--add-opens=java.base/sun.net.util=ALL-UNNAMED",
    "--add-exports=java.base/sun.nio.ch=ALL-UNNAMED",
    "-XX:MaxDirectMemorySize=2g",
)


@dataclass(frozen=True)
class JavaPeer:
    """One contestant; ``main`` takes BOOTSTRAP TOPIC OUT COUNT DIRECTORY and ``extra``."""

    name: str
    module: str
    """Of Maven; its consumer group is ``module-OUT``."""
    main: str
    guarantee: str
    events: int
    """The most that it is given: a slow one needs fewer for the same time, a fast one more for its compiler."""
    jars: tuple[str, ...]
    """Whose versions matter to its speed."""
    options: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


_FLINK_JARS: Final = ("flink-streaming-java", "flink-connector-kafka", "kafka-clients", "jackson-core")

JAVA_PEERS: Final = (
    JavaPeer(
        "kafka-streams",
        "kstreams",
        "peers.KStreams",
        "exactly_once_v2, changes seen every 100 ms; RocksDB, cache and changelog; two threads",
        12_000_000,
        ("kafka-streams", "rocksdbjni", "jackson-core"),
    ),
    JavaPeer(
        "flink-heap",
        "flink",
        "peers.Flink",
        "exactly once, changes seen every 5 s; all state on the heap, full snapshots; two slots",
        12_000_000,
        _FLINK_JARS,
        _FLINK,
        ("hashmap",),
    ),
    JavaPeer(
        "flink-rocksdb",
        "flink",
        "peers.Flink",
        "exactly once, changes seen every 5 s; RocksDB, incremental snapshots; two slots",
        3_000_000,
        (*_FLINK_JARS, "frocksdbjni"),
        _FLINK,
        ("rocksdb",),
    ),
)


def missing() -> str | None:
    """Why they cannot be built here, as one line; ``None`` where they can."""
    need = f"the JVM peers are left out: they need Maven and a JDK of {_JAVA} or newer"
    for tool in ("mvn", "javac", "java"):
        if shutil.which(tool) is None:
            return f"{need}, and there is no {tool} on the PATH"
    told = subprocess.run(["javac", "-version"], capture_output=True, text=True, check=False)
    found = re.search(r"javac (\d+)", told.stdout + told.stderr)
    if found is None or int(found[1]) < _JAVA:
        return f"{need}, and javac is {found[1] if found else 'of an unknown version'}"
    return None


def build() -> None:
    """Compile the sources, unless that was done. Raises BenchmarkError when they cannot be built."""
    mark, wanted = BUILT / ".built", _digest(_sources())
    if mark.is_file() and mark.read_text() == wanted:
        return
    shutil.rmtree(BUILT, ignore_errors=True)
    command = ["mvn", "-q", "-B", "package", f"-Dpeers.build={BUILT}"]
    done = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"the JVM peers cannot be built: {(done.stdout + done.stderr)[-2000:]}")
    mark.write_text(wanted)


def _sources() -> list[Path]:
    return sorted([*SOURCES.rglob("pom.xml"), *SOURCES.rglob("*.java")])


def _digest(files: Iterable[Path]) -> str:
    found = hashlib.sha256()
    for file in files:
        found.update(f"{file.relative_to(SOURCES)}\n{file.read_text('utf-8')}\n".encode())
    return found.hexdigest()


def command(peer: JavaPeer, bootstrap: str, topic: str, out: str, count: int, directory: Path, *more: str) -> list[str]:
    """What runs the peer in ``directory``; ``more``: for the JVM."""
    temporary = directory / "java"
    temporary.mkdir(parents=True, exist_ok=True)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 30
    heap = max(1, min(_HEAP, memory // _PART))
    home = BUILT / peer.module
    return [
        *("java", f"-Xms{heap}g", f"-Xmx{heap}g", "-XX:+UseParallelGC", f"-Djava.io.tmpdir={temporary}"),
        *("-Dorg.slf4j.simpleLogger.defaultLogLevel=error", *peer.options, *more),
        *("-cp", f"{home}/{peer.module}-1.jar:{home}/lib/*", peer.main),
        *(bootstrap, topic, out, str(count), str(directory), *peer.extra),
    ]


def run(
    peer: JavaPeer, bootstrap: str, topic: str, out: str, count: int, directory: Path, before: int = 0
) -> dict[str, Any]:
    """Let the peer work off ``count`` events of ``topic``; returns its figures for those after the first ``before``."""
    called = command(peer, bootstrap, topic, out, count, directory)
    try:
        return figures(contestant(peer.name, called, _PATIENCE), before) | {"load_1m": os.getloadavg()[0]}
    except BenchmarkError as error:
        raise BenchmarkError(f"{peer.name}: {error}") from error


def figures(printed: dict[str, Any], before: int = 0) -> dict[str, Any]:
    """What its commits come to: ``[seconds, processor seconds, events so far]`` each; ``before``: events left out.

    Raises BenchmarkError when there are too few to be trusted.
    """
    looks = [Look(time, events, cpu, 0.0) for time, cpu, events in printed["commits"]]
    return rates(*between(looks, before, least=_COMMITS)) | {
        "commits": len(looks),
        "changes": printed["changes"],
        "gc_seconds": printed["gc_seconds"],
    }


def java_versions(peer: JavaPeer) -> dict[str, str]:
    """Version of each library that matters to the peer's speed, and of Java. The peers must be built."""
    have = jar_versions(path.name for path in (BUILT / peer.module / "lib").iterdir())
    told = subprocess.run(["java", "-version"], capture_output=True, text=True, check=True)
    java = re.search(r'version "([^"]+)"', told.stderr)
    return {name: have[name] for name in peer.jars} | {"java": java[1] if java else "of an unknown version"}


def jar_versions(names: Iterable[str]) -> dict[str, str]:
    """Library → version, by the names of the files."""
    return {found[1]: found[2] for found in map(_JAR.fullmatch, names) if found}
