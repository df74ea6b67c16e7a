"""Fixtures shared by all tests: one real Kafka for the session, the data sets, a fresh topic prefix."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import ChildWorker, free_port
from streams.wire.topics import Topics
from tests.helpers import APP, Start

REPOSITORY = Path(__file__).resolve().parent.parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever uses the broker carries the mark ``kafka``, so that ``-m 'not kafka'`` is the quick run."""
    for item in items:
        if "broker" in getattr(item, "fixturenames", ()):
            item.add_marker("kafka")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """A running Apache Kafka shared by the session; use ``unique_prefix`` for topics, and do not stop it."""
    with EmbeddedBroker(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@pytest.fixture
def unique_prefix() -> str:
    """A topic prefix that no other test has."""
    return f"t{uuid.uuid4().hex[:10]}-"


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The directory of real data sets (``SEGMENTS_DATA``, else ``../shared/data``); the test fails without it."""
    named = os.environ.get("SEGMENTS_DATA", "")
    path = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if not path.is_dir() or not any(path.iterdir()):
        source = "SEGMENTS_DATA names" if named else "SEGMENTS_DATA is not set, and the default is"
        pytest.fail(f"{source} {path}, where no data sets are: set SEGMENTS_DATA to their directory")
    return path.resolve()


@pytest.fixture
def topics(broker: EmbeddedBroker, unique_prefix: str) -> Topics:
    """This test's own topics, two partitions each."""
    found = Topics(APP, unique_prefix)
    create_topics({"bootstrap.servers": broker.bootstrap}, found.specs(2), 1)
    return found


@pytest.fixture
def start(broker: EmbeddedBroker, topics: Topics, tmp_path: Path) -> Iterator[Start]:
    """Start workers on this test's topics; all are ended with the test."""
    workers: list[ChildWorker] = []

    def begin(name: str = "one", **settings: str) -> ChildWorker:
        worker = ChildWorker(
            free_port(),
            tmp_path / f"{name}.log",
            app=APP,
            bootstrap=broker.bootstrap,
            topic_prefix=topics.prefix,
            data_dir=str(tmp_path / "state"),
            worker_name=name,
            **{"session_timeout": "3", **settings},
        )
        workers.append(worker)
        return worker

    yield begin
    for worker in workers:
        worker.kill()
