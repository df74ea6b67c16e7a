"""Test programs in C: built from ``tests/c`` and ``state/c/core`` without Python, run, and expected to end well."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
CORE: Final = ROOT / "state" / "c" / "core"
WARNINGS: Final = ("-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
#: every access outside of what is owned, and everything that C leaves undefined
SANITIZED: Final = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
#: every access by two threads that no lock orders
THREADS: Final = ("-O1", "-g", "-fsanitize=thread")
PLAIN: Final = ("-O2",)


def compiler() -> str:
    """The C compiler. Without one the test fails in continuous integration, and is left out elsewhere."""
    found = shutil.which(os.environ.get("CC", "cc"))
    if found is None and os.environ.get("CI"):
        pytest.fail("there is no C compiler: install gcc, or set CC to one")
    if found is None:
        pytest.skip("there is no C compiler")
    return found


def build(into: Path, name: str, core: Sequence[str], options: Sequence[str], others: Sequence[str] = ()) -> Path:
    """``tests/c/NAME.c`` with these files of the core and ``others`` of tests/c, as a program in ``into``."""
    sources = [CORE / f"{file}.c" for file in core] + [ROOT / "tests" / "c" / f"{file}.c" for file in (name, *others)]
    program = into / name
    command = [compiler(), "-std=c11", *WARNINGS, *options, f"-I{CORE}", f"-I{ROOT / 'tests' / 'c'}"]
    command += ["-o", str(program), *map(str, sources), "-pthread", "-lm"]
    built = subprocess.run(command, check=False, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    return program


def run(program: Path, seconds: float = 120.0) -> str:
    """What the program printed; it must end with 0, and no sanitizer may have complained."""

    def ended(*command: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=seconds)

    result = ended(program)
    if "unexpected memory mapping" in result.stderr:  # gcc's thread sanitizer where addresses are shuffled too widely
        result = ended("setarch", "-R", program)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout
