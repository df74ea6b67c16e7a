"""Fixtures shared by all tests: one real Kafka for the session, the data sets, a fresh topic prefix."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.kafka.broker import EmbeddedBroker

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
