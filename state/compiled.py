"""The compiled module, for whoever has a faster twin in it; the same answer for as long as the process lives."""

from __future__ import annotations

import importlib
import importlib.util
import os
from typing import Any, Final

from state import layout2

#: environment variable that turns the compiled part off when it is set to anything
OFF: Final = "SEGMENTS_PURE_PYTHON"
#: how the module's functions and verbs are called and what they give: ``MODULE_INTERFACE`` of ``state/c/module.h``
INTERFACE: Final = 3
UNUSABLE: Final = (
    f"the compiled module state._fold is there but cannot be used; build it again (pip install . or make venv), or set "
    f"{OFF}=1 to do without it, at a tenth of the speed"
)


class CompiledError(RuntimeError):
    """The compiled module does not go with the rest of the program; the message says why and what to do."""


def agree(module: Any, name: str, ours: int) -> None:
    """Raises CompiledError where the module's number of this name is not ours: it was built from other sources."""
    theirs = getattr(module, name, None)
    if theirs != ours:
        raise CompiledError(f"{UNUSABLE}: it was built from other sources (its {name} is {theirs}, and not {ours})")


def _load() -> Any | None:
    """None: it was not compiled (or for another Python), or is switched off. Raises CompiledError."""
    if os.environ.get(OFF) or importlib.util.find_spec("state._fold") is None:
        return None
    try:
        module = importlib.import_module("state._fold")
    except ImportError as error:
        raise CompiledError(f"{UNUSABLE}: {error}") from error
    agree(module, "INTERFACE", INTERFACE)
    agree(module, "LAYOUT", layout2.abi())
    return module


#: None: Python does all
COMPILED: Final[Any | None] = _load()
