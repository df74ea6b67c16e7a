"""How long the compiled fold takes for an event, with the benchmarks' five rules and the next timer.

python -m benchmarks.fold --json benchmarks/out/fold.json

No Python takes part: ``benchmarks/fold.c`` is built with the core and run for users whose events are so many seconds
apart. Users are drawn evenly, a turn has 10,000 events; reading, finding users and packing are no part of it.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.harness import JOB, machine, write_json
from state.plan_image import write
from streams.steps.segments import load_plan

ROOT = Path(__file__).resolve().parents[1]
#: seconds between two events of a user
APART = (2.0, 600.0, 40_000.0)


def build(into: Path) -> Path:
    """The driver, as the compiled module is built."""
    core = ROOT / "state" / "c" / "core"
    program = into / "fold"
    sources = [*map(str, sorted(core.glob("*.c"))), str(ROOT / "benchmarks" / "fold.c")]
    options = ["-std=c11", "-O3", "-ffp-contract=off", "-fvisibility=hidden", f"-I{core}", "-pthread"]
    subprocess.run([os.environ.get("CC", "cc"), *options, *sources, "-lm", "-o", str(program)], check=True)
    return program


def measure(program: Path, users: int, events: int, apart: float) -> dict[str, Any]:
    """One line of the report: nanoseconds of processor time."""
    told = load_plan(JOB).described
    at = {(route.kind, route.category): str(number) for number, route in enumerate(told.routes)}
    routes = [at[route] for route in (("view", ""), ("click", ""), ("click", "c7"), ("purchase", ""))]
    words = [str(users), str(events), str(apart), *routes]
    done = subprocess.run([str(program), *words], input=write(told), capture_output=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        program = build(Path(directory))
        lines = [measure(program, options.users, options.events, apart) for apart in APART]
    write_json(options.json, {"machine": machine(), "runs": lines})


if __name__ == "__main__":
    main()
