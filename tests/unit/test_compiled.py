"""The compiled module and Python's side must have been made of the same sources, or the import says what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from state import layout2, plan_image
from state.compiled import COMPILED, INTERFACE, OFF
from tests import core

pytestmark = pytest.mark.compiled


def imported(package: Path, numbers: str) -> str:
    """What ``import state.native`` says last, with a module whose numbers are off by these; empty: nothing."""
    ours = core.SOURCES.parent
    flags = f"-std=gnu11 -Wall -Werror {numbers} -fPIC -shared -I{sysconfig.get_path('include')} -I{ours}"
    built = core.build("other_module.so", flags, [core.SOURCES / "abi.c", core.DRIVERS / "other_module.c"])
    shutil.copytree(core.ROOT / "state", package / "state", ignore=shutil.ignore_patterns("_fold*", "c", "__pycache__"))
    shutil.copy(built, package / "state" / f"_fold{EXTENSION_SUFFIXES[0]}")
    without = {key: value for key, value in os.environ.items() if key not in (OFF, "PYTHONPATH")}
    act = "from state.compiled import COMPILED as c; c.Arena = c.open_record = None; import state.native"
    done = subprocess.run(
        [sys.executable, "-c", act], cwd=package, env=without, capture_output=True, text=True, check=False
    )
    return done.stderr.strip().rpartition("\n")[2]


def test_a_module_has_the_numbers_of_pythons_side() -> None:
    assert COMPILED is not None
    assert (INTERFACE, layout2.abi(), plan_image.abi()) == (COMPILED.INTERFACE, COMPILED.LAYOUT, COMPILED.PLAN)


@pytest.mark.parametrize(
    ("numbers", "name"),
    [
        ("-DINTERFACE=1 -DLAYOUT=0 -DPLAN=0", "INTERFACE"),
        ("-DINTERFACE=0 -DLAYOUT=1 -DPLAN=0", "LAYOUT"),
        ("-DINTERFACE=0 -DLAYOUT=0 -DPLAN=1", "PLAN"),
        ("-DOLD", "INTERFACE"),
    ],
)
def test_a_module_of_other_sources_is_told_when_it_is_imported(tmp_path: Path, numbers: str, name: str) -> None:
    told = imported(tmp_path, numbers)
    assert told.startswith("state.compiled.CompiledError: the compiled module state._fold is there but cannot be used")
    assert f"built from other sources (its {name} is " in told
    assert "pip install ." in told
