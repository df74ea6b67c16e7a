"""Records, arenas and tables of each implementation."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from state.tables import Arena, Table
from tests.records import IMPLEMENTATIONS, Implementation
from tests.turns import LARGE, MAKERS


@pytest.fixture(params=["plain", pytest.param("compiled", marks=pytest.mark.compiled)])
def make(request: pytest.FixtureRequest) -> Callable[[int], Arena]:
    """(most bytes) → an arena."""
    return MAKERS[request.param]


@pytest.fixture
def users(make: Callable[[int], Arena]) -> Table:
    return make(LARGE).table()


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def kind(request: pytest.FixtureRequest) -> Implementation:
    return IMPLEMENTATIONS[request.param]
