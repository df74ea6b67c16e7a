"""What a user in memory takes: resident memory of a process that keeps many, less that of the same with nobody.

python -m benchmarks.cached_user USERS EVENTS

Turns as a worker has them, without Kafka, over a RocksDB. All that a user takes is counted, whoever allocated it. It
is weighed twice: when the last turn is over, and when all have rested, since who has no turn for a while is packed.
"""

from __future__ import annotations

import ctypes
import gc
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.harness import JOB, contestant
from benchmarks.hotpath import Partition, fetches
from benchmarks.in_turn import in_turn
from encoders.artifact import load_encoders
from streams.steps.models import make_models
from streams.steps.segments import load_plan

USERS: Final = 50_000
#: events of each user before it is weighed → bytes that one took when its state were Python's objects: all of them
#: and the place in the cache, as ADR 0041 has them (weighed at commit 3c94e71: 6,463 for 25)
BEFORE: Final = {6: 3_931, 25: 6_690, 100: 11_002}
#: records of a turn: few users at a time, so that what turns leave behind is little
_TURN: Final = 1_000
#: event time that they take
_SECONDS: Final = 3_600.0
#: seconds without turns until all rest: in each of them a worker tidies what is in memory
_REST: Final = 120
#: more than all take
_ALL_MB: Final = 4_096


def _resident() -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    resident: int = psutil.Process().memory_info().rss
    return resident


def weigh(users: int, events: int) -> dict[str, int]:
    """Resident bytes of all users after ``events`` events of each, in turns and when they have rested, and what the
    table says then that it holds."""
    plan = load_plan(JOB)
    models = make_models(load_encoders(device="cpu"), plan)
    count, now = users * events, time.time()
    records = in_turn(range(count), users, now - _SECONDS, pace=_SECONDS / events)
    with tempfile.TemporaryDirectory(prefix="segments-weigh-") as name:
        partition = Partition(Path(name), plan, models, _ALL_MB)
        for offset, data in fetches(records, _TURN, now):
            partition.take(offset, data)
        in_turns = _resident()
        for _ in range(_REST):
            partition.table.tidy()
        at_rest = _resident()
        held = {"users_in_memory": partition.table.users, "bytes_in_memory": partition.table.bytes_held}
        del partition.table  # and the arena with it, which would keep some pages for others
        nobody = _resident()
        partition.store.close()
    return {"in_turns": in_turns - nobody, "at_rest": at_rest - nobody, **held}


def measure(users: int = USERS) -> dict[str, dict[str, Any]]:
    """Events of each user → bytes that one takes in memory: in turns, and at rest, which is what most do, and what part
    of those before the latter is."""
    found: dict[str, dict[str, Any]] = {}
    for events, before in BEFORE.items():
        command = [sys.executable, "-m", "benchmarks.cached_user", str(users), str(events)]
        kept = contestant("weigh", command, 600.0)
        in_turns, one = (kept[when] / kept["users_in_memory"] for when in ("in_turns", "at_rest"))
        found[str(events)] = {
            "bytes_in_turns": round(in_turns),
            "bytes": round(one),
            "bytes_by_the_table": round(kept["bytes_in_memory"] / kept["users_in_memory"]),
            "bytes_before": before,
            "part_of_before": round(one / before, 3),
        }
    return found


def main() -> None:
    users, events = sys.argv[1:]
    print(json.dumps(weigh(int(users), int(events))))


if __name__ == "__main__":
    main()
