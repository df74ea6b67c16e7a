"""river, loaded with the first head: it brings scipy, pandas and scikit-learn, half of what a worker loads that has
none."""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType


@cache
def river() -> ModuleType:
    """The package, with the parts of it that heads use. The first time it takes a second."""
    for name in ("drift", "linear_model", "metrics", "optim"):
        importlib.import_module(f"river.{name}")
    return importlib.import_module("river")
