"""A file with one JSON object a line, replayed byte for byte."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from streams.tools.sources.base import Raw

_decoder = msgspec.json.Decoder()
_USER_FIELDS = ("user", "userId", "anonymousId")
_TIME_FIELDS = ("time", "originalTimestamp", "timestamp")
_MILLISECONDS_FROM = 1e11  # as seconds this is the year 5138


class JsonLines:
    """The lines of a file: our compact form, the Segment Spec or labels, mixed as they come.

    Lines are neither checked nor changed: a broken one is replayed too (without a key), so that a capture of production
    traffic can be replayed with its faults. Only blank lines are skipped. The order of the file is kept.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"{path} is not a file")
        self.name = f"jsonl {path.name}"
        self.total: int | None = None
        self._path = path
        self._skipped: Counter[str] = Counter()

    @property
    def skipped(self) -> Mapping[str, int]:
        return self._skipped

    def __iter__(self) -> Iterator[Raw]:
        self._skipped = Counter()
        with self._path.open("rb") as lines:
            for line in lines:
                value = line.removesuffix(b"\n").removesuffix(b"\r")
                if value.strip():
                    yield describe(value)
                else:
                    self._skipped["blank line"] += 1


def describe(value: bytes) -> Raw:
    """The record with what can be found out about it: key, time, and whether it is a label."""
    try:
        data = _decoder.decode(value)
    except (ValueError, RecursionError):  # not JSON, not UTF-8, or nested too deeply
        return Raw(None, value)
    if not isinstance(data, dict):
        return Raw(None, value)
    is_label = "segment" in data and "member" in data and "kind" not in data
    return Raw(_key(data), value, _time(data), is_label)


def _key(data: dict[str, Any]) -> bytes | None:
    for name in _USER_FIELDS:
        user = data.get(name)
        if isinstance(user, str) and user:
            try:
                return user.encode()
            except UnicodeEncodeError:  # half a surrogate pair
                return None
    return None


def _time(data: dict[str, Any]) -> float | None:
    for name in _TIME_FIELDS:
        match data.get(name):
            case bool():
                continue
            case int() | float() as number:
                return number / 1000 if abs(number) >= _MILLISECONDS_FROM else float(number)
            case str() as written:
                try:
                    moment = datetime.fromisoformat(written)
                except ValueError:
                    continue
                return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    return None
