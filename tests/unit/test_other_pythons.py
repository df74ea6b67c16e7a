"""The compiled module in each Python that this machine has the headers of, from 3.11 on: see ``tests/bare_module.py``.

Other Pythons have none of our packages, so they show what the module itself needs of theirs. This one is always among
them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import core

pytestmark = pytest.mark.compiled
ASK = "import sys, sysconfig; print(*sys.version_info[:2], sysconfig.get_path('include'))"
#: as setup.py has them, without optimization
FLAGS = "-O0 -Wall -Wextra -Werror -Wno-unused-parameter -Wno-missing-field-initializers -ffp-contract=off"


def pythons() -> dict[str, tuple[str, str]]:
    """Version → the interpreter and where its headers are."""
    names = [sys.executable, *(f"python3.{minor}" for minor in range(11, 15))]
    names += map(str, sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3")))
    found: dict[str, tuple[str, str]] = {}
    for name in names:
        path = shutil.which(name)
        if path is None:
            continue
        told = subprocess.run([path, "-I", "-S", "-c", ASK], capture_output=True, text=True, check=False)
        if told.returncode != 0:  # one of pyenv's shims, say, of a version that is not chosen
            continue
        major, minor, include = told.stdout.strip().split(" ", 2)
        if (int(major), int(minor)) >= (3, 11) and Path(include, "Python.h").exists():
            found.setdefault(f"{major}.{minor}", (path, include))
    return found


PYTHONS = pythons()


@pytest.mark.parametrize("version", PYTHONS)
def test_the_module_is_used_in_interpreters_beside_each_other_loaded_twice_and_let_go(version: str) -> None:
    python, include = PYTHONS[version]
    ours = core.SOURCES.parent
    sources = [*ours.glob("*.c"), *core.SOURCES.glob("*.c")]
    module = core.build(
        f"fold-{version}.so", f"{FLAGS} -fvisibility=hidden -fPIC -shared -I{include} -I{ours}", sources
    )
    script = str(core.ROOT / "tests/bare_module.py")
    done = subprocess.run(
        [python, "-I", "-S", "-X", "faulthandler", script, str(module)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, version), done.stderr


def test_this_python_is_among_them() -> None:
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in PYTHONS
