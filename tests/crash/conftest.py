"""Workers that are forked, so that a test can kill many of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from streams.kafka.broker import EmbeddedBroker
from streams.tools.child import free_port
from streams.wire.topics import Topics
from tests.crash.killing import Killing
from tests.forked import ForkServer


@pytest.fixture
def killing(fork_server: ForkServer, broker: EmbeddedBroker, topics: Topics, tmp_path: Path) -> Iterator[Killing]:
    """Load, kills and the final check, on topics of two partitions."""
    test = Killing(fork_server, broker, topics, tmp_path, free_port)
    yield test
    test.close()
