"""Fixtures shared by all tests: one real Kafka for the session, the data sets, a fresh topic prefix."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import ChildWorker, free_port
from streams.wire.topics import Topics
from tests.core import SANITIZED
from tests.forked import ForkedWorker, ForkServer
from tests.helpers import APP, RULES, Start

if TYPE_CHECKING:
    import torch

# what a test sees must not depend on what this processor is fast at; workers of tests inherit it
os.environ["SEGMENTS_TEXT_PRECISION"] = "float32"
REPOSITORY = Path(__file__).resolve().parent.parent

# no test may fail because others have the processor
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("sanitized", settings.get_profile("patient"), max_examples=30)
settings.load_profile("sanitized" if SANITIZED else "patient")


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


@pytest.fixture(scope="module")
def exact_int8() -> Iterator[None]:
    """int8 on any processor: where it would saturate, oneDNN multiplies in two parts, each too small for that."""
    from encoders.int8 import Int8Linear, exact  # noqa: PLC0415 - torch takes seconds

    once = Int8Linear.product

    def in_two(layer: Int8Linear, levels: torch.Tensor) -> torch.Tensor:
        low = levels.clamp(max=127)
        return once(layer, low).add_(once(layer, levels - low))

    with pytest.MonkeyPatch.context() as patch:
        if not exact():
            patch.setattr(Int8Linear, "product", in_two)
        assert exact()
        yield


@pytest.fixture
def topics(broker: EmbeddedBroker, unique_prefix: str) -> Topics:
    """This test's own topics, two partitions each."""
    found = Topics(APP, unique_prefix)
    create_topics({"bootstrap.servers": broker.bootstrap}, found.specs(2), 1)
    return found


@pytest.fixture(scope="session")
def fork_server() -> Iterator[ForkServer]:
    """One for the session: workers without the seconds that imports take."""
    with ForkServer() as server:
        yield server


@contextmanager
def starting(server: ForkServer, settings: dict[str, str], logs: Path) -> Iterator[Start]:
    """A function that starts workers; all are ended with the block."""
    workers: list[ChildWorker] = []

    def begin(name: str = "one", **more: str) -> ChildWorker:
        worker = ForkedWorker(server, free_port(), logs / f"{name}.log", **{**settings, "worker_name": name, **more})
        workers.append(worker)
        return worker

    yield begin
    for worker in workers:
        worker.kill()


@pytest.fixture
def worker_settings(broker: EmbeddedBroker, topics: Topics, tmp_path: Path) -> dict[str, str]:
    """What workers on this test's topics have in common."""
    return {
        "app": APP,
        "bootstrap": broker.bootstrap,
        "topic_prefix": topics.prefix,
        "data_dir": str(tmp_path / "state"),
        "session_timeout": "3",
        "segments_file": "demo",
    }


@pytest.fixture
def start(fork_server: ForkServer, worker_settings: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start workers on this test's topics, forked; all are ended with the test."""
    with starting(fork_server, worker_settings, tmp_path) as begin:
        yield begin


@pytest.fixture
def start_with_rules(fork_server: ForkServer, worker_settings: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """As ``start``, forked, and with two rules for segments, so that nothing is encoded."""
    file = tmp_path / "segments.toml"
    file.write_text(RULES)
    with starting(fork_server, worker_settings | {"segments_file": str(file)}, tmp_path) as begin:
        yield begin
