"""Logging of a worker: plain lines on stderr, one for each record, times in UTC, without secrets."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import TextIO

from streams.ops.outage import FoldClients
from streams.wire.times import to_iso

#: libraries whose INFO is noise in operation (tables, timers that woke up late); their warnings stay
_QUIET = ("faust", "mode", "aiokafka", "kafka", "aiohttp", "asyncio", "transformers", "torch")
MASK = "***"


class PlainFormatter(logging.Formatter):
    """``2026-01-31T17:05:09.123Z INFO    streams.app: message``; a traceback follows on the same line after ``|``.

    ``secrets`` are replaced wherever they appear, whoever logged them.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        super().__init__("%(levelname)-7s %(name)s: %(message)s")
        # longest first, for one may be part of another
        self._secrets = sorted({secret for secret in secrets if secret}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        text = f"{to_iso(record.created)} {super().format(record)}"
        for secret in self._secrets:
            text = text.replace(secret, MASK)
        return " | ".join(line.strip() for line in text.splitlines() if line.strip())


def _worth_telling(record: logging.LogRecord) -> bool:
    """Faust's services (``[^-Consumer]: Starting...``) log under the names of our modules that extend them."""
    return record.levelno > logging.INFO or not str(record.msg).startswith("[^")


class RateLimit(logging.Filter):
    """At most ``burst`` records of one place in ``seconds``: a client without its broker may say the same
    thousands of times a second. How many were left out is told with the next one."""

    def __init__(self, burst: int = 20, seconds: float = 10.0) -> None:
        super().__init__()
        self._burst, self._seconds = burst, seconds
        self._places: dict[tuple[str, int], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        place = (record.pathname, record.lineno)
        since, count = self._places.get(place, (record.created, 0))
        if record.created - since >= self._seconds:
            if (left_out := count - self._burst) > 0:
                record.msg = f"{record.msg} ({left_out} like this one were left out)"
            since, count = record.created, 0
        self._places[place] = (since, count + 1)
        return count < self._burst


def set_up_logging(level: str, secrets: Iterable[str] = (), stream: TextIO | None = None) -> None:
    """Configure the root logger, in place of whatever was there. ``stream`` None is stderr."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(PlainFormatter(secrets))
    handler.addFilter(_worth_telling)
    handler.addFilter(FoldClients(level))
    handler.addFilter(RateLimit())
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)
