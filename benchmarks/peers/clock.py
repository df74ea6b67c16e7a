"""The stop watch of a peer: from the first record to the last, printed as one JSON line; then the process ends."""

from __future__ import annotations

import json
import os
import sys
import time


class StopWatch:
    """Counts records; at ``expected`` it prints the figures and ends the process."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._seen = 0
        self._started = 0.0
        self._cpu = 0.0

    def count(self, records: int = 1) -> None:
        if self._seen == 0:
            self._started, self._cpu = time.perf_counter(), time.process_time()
        self._seen += records
        if self._seen >= self._expected:
            self.finish()

    def finish(self) -> None:
        seconds = time.perf_counter() - self._started
        cpu = time.process_time() - self._cpu
        print(
            json.dumps(
                {
                    "events": self._seen,
                    "seconds": seconds,
                    "events_per_second": (self._seen - 1) / seconds,
                    "cpu_microseconds_per_event": 1e6 * cpu / self._seen,
                }
            )
        )
        sys.stdout.flush()
        os._exit(0)
