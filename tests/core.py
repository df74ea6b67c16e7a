"""The core of the compiled state (``state/c/core``) as a library for tests: no Python in it, so ctypes can call it.

It is compiled with all warnings as errors and under the undefined-behaviour sanitizer; ``make sanitize`` adds that of
addresses. Without a compiler its tests are skipped, but in CI they fail.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCES: Final = ROOT / "state/c/core"
DRIVERS: Final = ROOT / "tests/c"
#: its standard and its bar; contraction would give other bits than Python's
STRICT: Final = "-std=c11 -Wall -Wextra -Wconversion -Wshadow -Werror -ffp-contract=off"
SANITIZE: Final = "-O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined"
#: what the library is compiled with besides; ``make sanitize`` sets it
FLAGS: Final = os.environ.get("SEGMENTS_CORE_CFLAGS", "-O1 -g -fsanitize=undefined -fno-sanitize-recover=undefined")
#: all of the process is under the address sanitizer (``make sanitize``): it takes some six times as long, keeps what is
#: freed, and Python's own count of its objects is 0. What it finds, a few examples show; that they are right is told by
#: the same tests without it
SANITIZED: Final = "libasan" in os.environ.get("LD_PRELOAD", "")
SIZE: Final = ctypes.c_size_t
U64: Final = ctypes.c_uint64


def compiler() -> str:
    """The C compiler. Where there is none, the tests fail: a skipped one would prove nothing."""
    found = shutil.which("cc")
    if found is None:
        pytest.fail("there is no C compiler, and the core must be tested: install gcc", pytrace=False)
    return found


def build(name: str, flags: str, sources: Iterable[Path]) -> Path:
    """``build/core/NAME-…`` of these sources, made anew when they, a header or the flags are others."""
    sources = sorted(sources)
    headers = (header for folder in (SOURCES, SOURCES.parent, DRIVERS) for header in sorted(folder.glob("*.h")))
    inputs = [*sources, *headers]
    digest = hashlib.sha256("\0".join([compiler(), flags, *(path.read_text("utf-8") for path in inputs)]).encode())
    target = ROOT / "build/core" / f"{name}-{digest.hexdigest()[:16]}"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        made = target.with_name(f"{target.name}.{os.getpid()}")  # another process may make the same
        command = [compiler(), *flags.split(), f"-I{SOURCES}", *map(str, sources), "-lpthread", "-o", str(made)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        made.replace(target)
    return target


@cache
def library() -> ctypes.CDLL:
    """The whole core."""
    core = ctypes.CDLL(str(build("core.so", f"{STRICT} {FLAGS} -fPIC -shared", SOURCES.glob("*.c"))))
    core.xxh3.restype = core.xxh3_seeded.restype = core.layout_abi.restype = U64
    core.xxh3.argtypes = [ctypes.c_char_p, SIZE]
    core.xxh3_seeded.argtypes = [ctypes.c_char_p, SIZE, U64]
    core.murmur2.restype, core.murmur2.argtypes = ctypes.c_uint32, [ctypes.c_char_p, SIZE]
    core.power_of_two.restype = ctypes.c_double
    core.power_of_two.argtypes = [ctypes.c_double]
    core.block_check.argtypes = [ctypes.c_char_p, SIZE]
    core.block_fault_words.restype = ctypes.c_char_p
    return core
