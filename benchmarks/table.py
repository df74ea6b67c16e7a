"""How long a turn takes to find users in memory and to copy their blocks, and to put the copies in place.

python -m benchmarks.table --json benchmarks/out/table.json

No Python takes part: ``benchmarks/table.c`` is built with the core and run once for each size, with and without huge
pages, with and without asking for memory before it is needed. Users are drawn evenly.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import machine, write_json

ROOT = Path(__file__).resolve().parents[1]
#: users of a call; one by one, nothing can be asked for ahead
AHEAD, ONE_BY_ONE = 2_000, 1


def build(into: Path) -> Path:
    """The driver, as the compiled module is built."""
    core = ROOT / "state" / "c" / "core"
    sources = [*map(str, sorted(core.glob("*.c"))), str(ROOT / "benchmarks" / "table.c")]
    program = into / "table"
    options = ["-std=c11", "-O3", "-ffp-contract=off", f"-I{core}", "-pthread"]
    subprocess.run([os.environ.get("CC", "cc"), *options, *sources, "-lm", "-o", str(program)], check=True)
    return program


def measure(program: Path, users: int, size: int, pages: str, at_once: int, turns: int) -> dict[str, Any]:
    """One line of the report: nanoseconds of processor time a user, and bytes held for one."""
    words = [str(users), str(size), pages, str(at_once), str(turns)]
    result: dict[str, Any] = json.loads(subprocess.run([program, *words], check=True, stdout=subprocess.PIPE).stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="+", default=[10_000, 200_000, 1_000_000])
    parser.add_argument("--bytes", type=int, default=700, help="of a block")
    parser.add_argument("--turns", type=int, default=400, help="of 2,000 users each")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = build(Path(folder))
        runs = [
            measure(program, users, options.bytes, pages, at_once, options.turns)
            for users in options.users
            for pages in ("huge", "small")
            for at_once in (AHEAD, ONE_BY_ONE)
        ]
    write_json(options.json, {"machine": machine(), "turn": AHEAD, "runs": runs})


if __name__ == "__main__":
    main()
