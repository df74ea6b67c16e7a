"""The compiled module, for whoever has a faster twin in it; the same answer for as long as the process lives."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any, Final

#: environment variable that turns the compiled part off when it is set to anything
OFF: Final = "SEGMENTS_PURE_PYTHON"
UNUSABLE: Final = (
    f"the compiled module state._fold is there but cannot be used; build it again (pip install . or make venv), or set "
    f"{OFF}=1 to do without it, at a tenth of the speed"
)


class CompiledError(RuntimeError):
    """The compiled module does not go with the rest of the program; the message says why and what to do."""


def _load() -> Any | None:
    """None: it was not compiled (or for another Python), or is switched off. Raises CompiledError."""
    if os.environ.get(OFF) or importlib.util.find_spec("state._fold") is None:
        return None
    try:
        return importlib.import_module("state._fold")
    except ImportError as error:
        raise CompiledError(f"{UNUSABLE}: {error}") from error


#: None: Python does all
COMPILED: Final[Any | None] = _load()
