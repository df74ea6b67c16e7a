"""The compiled module as a module: of the same sources as Python's side, without globals, known to the collector."""

from __future__ import annotations

import gc
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import weakref
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import pytest

from state import layout2, plan_image
from state.compiled import COMPILED, INTERFACE, OFF
from state.native import quiet_fold
from state.plan_image import Described
from streams.steps.segments import CALLS
from streams.wire.decode import Limits
from streams.wire.events import Event
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


#: what CPython wants of a module in memory that may be written, and what the linker adds
TABLES = re.compile(
    r"(.*_)?(slots|methods|spec|fields|attributes|functions|definition)|names\.\d+|__dso_handle|__TMC_END__|completed\.0"
    r"|__cpu_model|__cpu_features2"  # of the compiler's library: what the processor can do
)


def test_the_module_has_no_global_that_changes() -> None:
    assert COMPILED is not None
    told = subprocess.run(["objdump", "-t", str(COMPILED.__file__)], capture_output=True, text=True, check=True)
    symbols = re.findall(
        r"^\S+ .{7} (\.(?:data|bss|tdata|tbss))\t\S+\s+(?:\.hidden )?(\S+)$", told.stdout, re.MULTILINE
    )
    assert (".data", "definition") in symbols
    assert [name for section, name in symbols if name != section and not TABLES.fullmatch(name)] == []


class Watched:
    """Something that can be watched, and refers to whatever it is given."""

    held: object = None

    def __call__(self, _given: Any) -> Any:
        return None


@pytest.mark.parametrize("part", ["batch", "items", "users", "records"])
def test_what_refers_to_itself_through_the_module_is_collected(part: str) -> None:
    quiet = quiet_fold(Event, CALLS, Described(routes=(), rules=(), stays={}, may_rise=False))
    assert quiet is not None
    decode, record = Watched(), Watched()
    vars(record).update(value=b'{"user":"u","kind":"view","time":1.69e9}', timestamp=1_700_000_000_000)
    batch, _ = quiet.read([record], decode, Watched(), Limits().usual)
    parts = {"batch": batch, "items": batch["u"], "users": iter(batch), "records": batch}
    (record if part == "records" else decode).held = parts[part]
    watched = [weakref.ref(decode), weakref.ref(record)]
    del decode, record, batch, parts
    gc.collect()
    assert [each() for each in watched] == [None, None]
