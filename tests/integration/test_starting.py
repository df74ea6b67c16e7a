"""A worker that cannot start ends by itself, soon, with a sentence, and nothing that it started is left."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import ChildWorker, free_port
from streams.wire.topics import Topics
from tests.helpers import APP, Start, wait_for

#: seconds for the end of a worker with everything that it started
SOON = 15.0
LISTENS = "page, metrics and health at"


def log_of(worker: ChildWorker) -> str:
    return worker.log_path.read_text() if worker.log_path.exists() else ""


def processes_of(worker: ChildWorker) -> list[psutil.Process]:
    """Whatever lives in the worker's process group, besides itself, wherever its parent is."""
    return [each for each in psutil.process_iter() if each.pid != worker.pid and belongs_to(each, worker)]


def belongs_to(process: psutil.Process, worker: ChildWorker) -> bool:
    try:
        # a zombie is one of which nobody asks how it ended
        return os.getpgid(process.pid) == worker.pid and process.status() != psutil.STATUS_ZOMBIE
    except (ProcessLookupError, psutil.NoSuchProcess):
        return False


def wait_begun(worker: ChildWorker, begun: Callable[[], bool]) -> None:
    wait_for(lambda: begun() or not worker.running, 90.0, "the start is so far", interval_s=0.01)


def assert_all_end(worker: ChildWorker) -> None:
    wait_for(lambda: not worker.running, SOON, "the worker ends")
    wait_for(lambda: not processes_of(worker), 5.0, "its processes are gone")


def last_line(worker: ChildWorker) -> str:
    return log_of(worker).splitlines()[-1]


def test_a_worker_whose_port_is_taken_ends_with_a_sentence_and_its_encoders_with_it(
    worker_settings: dict[str, str], tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        # the real command: a forked worker's interpreter ends at once
        worker = ChildWorker(port, tmp_path / "real.log", **worker_settings)
        try:
            wait_begun(worker, lambda: "the models are loaded" in log_of(worker))
            assert_all_end(worker)
        finally:
            worker.kill()
    assert worker.exit_status == 1
    assert f"error: the page cannot listen at 127.0.0.1:{port} (address already in use)" in last_line(worker)


def test_a_worker_has_no_torch_in_memory_and_the_process_of_its_encoders_has(
    worker_settings: dict[str, str], tmp_path: Path
) -> None:
    worker = ChildWorker(free_port(), tmp_path / "real.log", **worker_settings)  # a forked one shares its server's
    try:
        worker.wait_ready()
        (encoders,) = psutil.Process(worker.pid).children()
        assert not has_torch(worker.pid)
        assert has_torch(encoders.pid)
    finally:
        worker.stop()


def has_torch(pid: int) -> bool:
    return "libtorch" in Path(f"/proc/{pid}/maps").read_text()


@pytest.mark.parametrize(
    ("setting", "written", "sentence"),
    [
        ("text_model", "{}", "error: the models cannot be used: "),
        ("segments_file", "[[segment]]\nid = 'x'\nrule = 'coun('\n", "is not an expression"),
        ("encoder_artifact", "nothing of the kind", "is not an encoder artifact"),
    ],
)
def test_what_cannot_be_used_ends_the_start_with_a_sentence(
    start: Start, tmp_path: Path, setting: str, written: str, sentence: str
) -> None:
    path = tmp_path / setting
    if setting == "text_model":
        path.mkdir()
        (path / "config.json").write_text(written)
    else:
        path.write_text(written)
    worker = start(**{setting: str(path)})
    assert_all_end(worker)
    assert worker.exit_status == 1
    assert sentence in last_line(worker)


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(lambda worker: "SEGMENTS_ERASURE_SECRET" in log_of(worker), id="before the models"),
        pytest.param(lambda worker: bool(processes_of(worker)), id="with the encoders' process"),
        pytest.param(lambda worker: LISTENS in log_of(worker), id="while it joins"),
        pytest.param(lambda worker: "assigned partitions" in log_of(worker), id="while it restores"),
    ],
)
def test_a_signal_is_obeyed_at_any_moment_of_the_start(start: Start, moment: Callable[[ChildWorker], bool]) -> None:
    worker = start()
    wait_begun(worker, lambda: moment(worker))
    os.kill(worker.pid, signal.SIGTERM)
    assert_all_end(worker)
    assert worker.exit_status == 0


@pytest.fixture(scope="module")
def own_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """A Kafka that may be stopped."""
    with EmbeddedBroker(tmp_path_factory.mktemp("own-kafka")) as running:
        create_topics({"bootstrap.servers": running.bootstrap}, Topics(APP).specs(2), 1)
        yield running


def test_a_worker_that_loses_kafka_while_it_starts_ends_and_one_without_kafka_waits_with_a_line(
    own_broker: EmbeddedBroker, tmp_path: Path
) -> None:
    settings = {
        "app": APP, "bootstrap": own_broker.bootstrap, "data_dir": str(tmp_path / "state"), "session_timeout": "3",
    }  # fmt: skip
    worker = ChildWorker(free_port(), tmp_path / "lost.log", **settings)
    try:
        wait_begun(worker, lambda: LISTENS in log_of(worker))
        own_broker.kill()
        assert_all_end(worker)
        assert worker.exit_status == 1
        # who notices first: the consumer that joins, or who asks the brokers beside it
        told = ("error: Kafka was lost while the worker started", "error: the cluster does not answer")
        assert any(sentence in last_line(worker) for sentence in told)

        early = ChildWorker(free_port(), tmp_path / "early.log", **settings)
        try:
            wait_for(lambda: "waiting for it, 30 s at most" in log_of(early), 30.0, "the waiting worker says so")
            os.kill(early.pid, signal.SIGTERM)
            assert_all_end(early)
            assert early.exit_status == 0
        finally:
            early.kill()
    finally:
        worker.kill()
