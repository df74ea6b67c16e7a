"""``python -m tests.chaos --seed N --minutes M --json FILE``: see docs/reliability.md."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
from pathlib import Path

from rich.console import Console

from benchmarks.harness import machine
from tests.chaos.campaign import Campaign, Plan


def main() -> int:
    """Exit status 1 when there are differences; then the directory with Kafka's data and all logs is kept."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=3.0, help="at least so long; 3 by default")
    parser.add_argument("--json", type=Path, help="write the report there")
    for name in (
        "kills", "restarts", "stops", "wipes", "backlogs", "definitions", "poisons", "recreations", "events",
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=0, help=f"at least so many {name}")
    parser.add_argument("--audit", action="store_true", help="an audit runs beside the workers")
    parser.add_argument("--users", type=int, default=Plan.users)
    parser.add_argument("--rate", type=float, default=Plan.rate, help="records a second; more if --events need it")
    parser.add_argument("--interval", type=float, default=Plan.interval, help="seconds between two disturbances")
    parser.add_argument("--keep", type=Path, help="directory for data and logs, which stays")
    given = vars(parser.parse_args())
    file, keep = given.pop("json"), given.pop("keep")
    directory = keep or Path(tempfile.mkdtemp(prefix="segments-chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    plan, out = Plan(**given), Console()
    outcome = Campaign(plan, directory, out.out).run()
    report = outcome.report(plan) | {"machine": machine()}
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(report, indent=2) + "\n")
    differences = outcome.findings.differences
    shown = report | {"differences": differences[:20]}
    out.print_json(data=shown)
    if differences:
        Console(stderr=True).out(f"{len(differences)} differences; data and logs are in {directory}")
    elif keep is None:
        shutil.rmtree(directory, ignore_errors=True)
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
