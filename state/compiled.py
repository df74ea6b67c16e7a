"""The compiled module, for whoever has a faster twin in it; the same answer for as long as the process lives."""

from __future__ import annotations

import importlib
import os
from typing import Any, Final

#: environment variable that turns the compiled part off when it is set to anything
OFF: Final = "SEGMENTS_PURE_PYTHON"


def _load() -> Any | None:
    if os.environ.get(OFF):
        return None
    try:
        return importlib.import_module("state._fold")
    except ImportError:  # not compiled, or for another Python
        return None


#: None: Python does all
COMPILED: Final[Any | None] = _load()
