"""What a user in memory takes: the resident memory of a process that keeps all, less that of one that keeps nobody.

python -m benchmarks.cached_user USERS EVENTS keep|drop

Both processes run the same turns without Kafka, over a RocksDB each; they differ only in what is kept. So all that a
user takes is counted, whoever allocated it.
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
#: and the place in the cache, as ADR 0041 has them (weighed as here at commit 3c94e71: 6,463 for 25)
BEFORE: Final = {6: 3_931, 25: 6_690, 100: 11_002}
#: records of a turn: few users at a time, or who keeps nobody has had many at once, whose memory the process may keep
_TURN: Final = 1_000
#: event time that they take
_SECONDS: Final = 3_600.0
#: bounds nothing, and less than any turn's copies
_ALL_MB, _NOBODY_MB = 4_096, 1


def weigh(users: int, events: int, keep: bool) -> dict[str, int]:
    """Resident bytes of this process after ``events`` events of each user, and what the table says that it holds."""
    plan = load_plan(JOB)
    models = make_models(load_encoders(device="cpu"), plan)
    count, now = users * events, time.time()
    records = in_turn(range(count), users, now - _SECONDS, pace=_SECONDS / events)
    with tempfile.TemporaryDirectory(prefix="segments-weigh-") as name:
        partition = Partition(Path(name), plan, models, _ALL_MB if keep else _NOBODY_MB)
        for offset, data in fetches(records, _TURN, now):
            partition.take(offset, data)
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        resident = psutil.Process().memory_info().rss
        held = {"users_in_memory": partition.table.users, "bytes_in_memory": partition.table.bytes_held}
        partition.store.close()
    return {"resident_bytes": resident, **held}


def measure(users: int = USERS) -> dict[str, dict[str, Any]]:
    """Events of each user → bytes that one takes in memory, and what part of those before that is."""
    found: dict[str, dict[str, Any]] = {}
    for events, before in BEFORE.items():
        kept, dropped = (
            contestant(how, [sys.executable, "-m", "benchmarks.cached_user", str(users), str(events), how], 600.0)
            for how in ("keep", "drop")
        )
        one = (kept["resident_bytes"] - dropped["resident_bytes"]) / (
            kept["users_in_memory"] - dropped["users_in_memory"]
        )
        found[str(events)] = {
            "bytes": round(one),
            "bytes_by_the_table": round(kept["bytes_in_memory"] / kept["users_in_memory"]),
            "bytes_before": before,
            "part_of_before": round(one / before, 3),
        }
    return found


def main() -> None:
    users, events, how = sys.argv[1:]
    print(json.dumps(weigh(int(users), int(events), how == "keep")))


if __name__ == "__main__":
    main()
