"""Logging of a worker: plain lines on stderr, one for each record, times in UTC, without secrets."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import TextIO

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


def set_up_logging(level: str, secrets: Iterable[str] = (), stream: TextIO | None = None) -> None:
    """Configure the root logger, in place of whatever was there. ``stream`` None is stderr."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(PlainFormatter(secrets))
    handler.addFilter(_worth_telling)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)
