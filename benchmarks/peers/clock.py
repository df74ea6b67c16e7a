"""The stop watch of a peer: from a tenth of the records to the last, as one JSON line; then the process ends."""

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
        self._first = 0
        self._started = 0.0
        self._cpu = 0.0

    def count(self, records: int = 1) -> None:
        self._seen = seen = self._seen + records
        if not self._first:
            if 10 * seen >= self._expected:  # the first records meet imports and connections
                self._first = seen
                self._started, self._cpu = time.perf_counter(), time.process_time()
        elif seen >= self._expected:
            self.finish()

    def finish(self) -> None:
        seconds = time.perf_counter() - self._started
        cpu = time.process_time() - self._cpu
        counted = self._seen - self._first
        print(
            json.dumps(
                {
                    "events_per_second": counted / seconds,
                    "seconds": round(seconds, 2),
                    "events": counted,
                    "cpu_microseconds_per_event": 1e6 * cpu / counted,
                    "load_1m": os.getloadavg()[0],
                }
            )
        )
        sys.stdout.flush()
        os._exit(0)
