"""What the replay producer needs to know of a source of records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from streams.wire.events import Event, Label


class Raw(NamedTuple):
    """A record whose bytes are sent as they are, well-formed or not."""

    key: bytes | None
    """The user id, or None when none can be found."""
    value: bytes
    time: float | None = None
    """Event time in seconds since the epoch, or None when it cannot be understood; only paces a replay."""
    label: bool = False
    """True for feedback, which belongs to the topic of labels."""


Record = Event | Label | Raw


class Source(Protocol):
    """Records in event-time order. Each iteration starts from the beginning and gives the same records."""

    @property
    def name(self) -> str:
        """Short name for people."""

    @property
    def total(self) -> int | None:
        """How many records will come, if that is known."""

    @property
    def skipped(self) -> Mapping[str, int]:
        """Reason -> input rows of the latest iteration that became no record; complete when it ended."""

    def __iter__(self) -> Iterator[Record]: ...


@dataclass(frozen=True)
class Records:
    """A source of records that are made elsewhere, such as a town's or a list."""

    name: str
    records: Iterable[Record]
    total: int | None = None
    skipped: Mapping[str, int] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)
