"""The boundary between the service and its page: what the service tells, and how it is put into words.

Units: seconds, records, ratios. Times are seconds since the epoch (UTC) unless they come from a published change, where
they are as published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import quote

import msgspec


class PartitionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One assigned partition. ``restored`` counts changelog records read; lag is over all source topics: the sum of
    the records, the largest age in seconds, as they were (of the topic asked longest ago) at ``lag_as_of``. None where
    Kafka has told no end yet: nobody knows then whether something waits."""

    partition: int
    state: str
    restored: int = 0
    position: int = 0
    users: int = 0
    lost: int = 0
    """Records of source topics that retention removed before they were read."""
    lag_records: int | None = None
    lag_seconds: float | None = None
    lag_as_of: float = 0.0


class SegmentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One segment: ``text`` is its rule or description in words, ``users`` its members over all workers, ``here`` those
    in the partitions of this one."""

    id: str
    kind: str
    text: str = ""
    users: int = 0
    here: int = 0
    version: int = 0
    enter: float | None = None
    exit: float | None = None


class HeadStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One learned head: labels ``seen`` and prequential ``accuracy`` (ratio; None before the first label)."""

    group: str
    version: int = 0
    seen: int = 0
    accuracy: float | None = None


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds from event to committed change; None when nothing was measured."""

    p50: float | None = None
    p99: float | None = None


class WorkerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One worker as it last told of itself; ``silent``: that is too long ago for one that works."""

    worker: str
    url: str
    heard_at: float
    silent: bool = False
    partitions: list[int] = []


class Together(msgspec.Struct, frozen=True, kw_only=True):
    """What all workers of the installation have, by the last report of each partition; ``as_of``: the oldest of these.

    ``unknown``: partitions of which nobody has told yet. ``old``: those of which nobody tells now.
    """

    as_of: float = 0.0
    workers: list[WorkerLine] = []
    unknown: list[int] = []
    old: list[int] = []
    users: int = 0
    events: int = 0
    changes: int = 0
    members: dict[str, int] = {}
    refused: dict[str, int] = {}


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Who looks after a user: this worker (``here``), or another. ``worker`` "": nobody is known to. ``url`` "": it
    cannot be asked from here."""

    partition: int = 0
    here: bool = False
    worker: str = ""
    url: str = ""


class NotHereError(RuntimeError):
    """The user's partition cannot be read on this worker just now; the message says why."""


class WorkerStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the page shows of a worker. ``all_workers``, ``dead_letters`` and the sizes of ``segments`` are over
    all workers, the rest is this one's. ``latency`` is by lane; ``recent_changes`` newest first, as published;
    ``standby``: partition → changelog records that its followed state is behind; ``kafka_silent_since``: when Kafka
    last answered, 0 while it does."""

    worker: str
    state: str
    ready: bool
    started_at: float
    kafka_silent_since: float = 0.0
    definitions: int = 0
    """Version of the segment definitions in force; 0: none are."""
    definitions_note: str = ""
    """Why the worker's file is not what is in force, or why it is not ready with the newest version."""
    partitions: list[PartitionStatus] = []
    events_total: int = 0
    events_per_second: float = 0.0
    changes_total: int = 0
    changes_per_second: float = 0.0
    dead_letters: dict[str, int] = {}
    segments: list[SegmentStatus] = []
    latency: dict[str, Latency] = {}
    standby: dict[int, int] = {}
    encode_queue_depth: int = 0
    encode_queue_age: float = 0.0
    heads: list[HeadStatus] = []
    recent_changes: list[dict[str, Any]] = []
    all_workers: Together = Together()

    @property
    def lag_records(self) -> int | None:
        """Unprocessed records over all partitions; None while it is not known of all."""
        known = [partition.lag_records for partition in self.partitions]
        return sum(each or 0 for each in known) if known and None not in known else None

    @property
    def lag_seconds(self) -> float | None:
        """Age of the oldest unprocessed record in any partition; None while it is not known of all."""
        if self.lag_records is None:
            return None
        return max(partition.lag_seconds or 0.0 for partition in self.partitions)

    @property
    def lost_records(self) -> int:
        """Records that retention removed before they were read, over all partitions."""
        return sum(partition.lost for partition in self.partitions)

    def lag_age(self, now: float) -> float:
        """How old the oldest of these figures is, in seconds."""
        return max((now - partition.lag_as_of for partition in self.partitions), default=0.0)


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """One segment that a user is in, since when (seconds since the epoch) and why."""

    segment: str
    since: float
    score: float | None = None
    reason: Any = None
    sequence: int = 0


class UserView(msgspec.Struct, frozen=True, kw_only=True):
    """One user as the page and ``segments user`` show it. ``history``: recent changes, newest first, as published."""

    user: str
    partition: int
    merged_into: str = ""
    """The user whose id this turned out to be: all is counted there. Empty for everybody else."""
    aliases: list[str] = []
    """Ids that were merged into this user."""
    memberships: list[Membership] = []
    counters: dict[str, float] = {}
    windows: dict[str, Any] = {}
    followees: list[str] = []
    texts: int = 0
    pending_texts: int = 0
    waiting_events: int = 0
    """Events ahead of the clock, which count when their time comes."""
    last_event_time: float | None = None
    """What the state is as of: the latest event's time, or that of the latest timer or change of definitions."""
    history: list[dict[str, Any]] = []


class ServiceView(Protocol):
    """What the page may ask of the service. All but ``user`` must answer at once, without I/O."""

    def status(self) -> WorkerStatus:
        """A snapshot for the page."""
        ...

    async def user(self, user_id: str) -> UserView | None:
        """The user as this worker's state has it; None when it has no such user. Raises NotHereError."""
        ...

    def live(self) -> bool:
        """False when only a restart helps: the event loop's work is stuck or a partition's writer died."""
        ...

    def started(self) -> bool:
        """True once start-up is over (connected, models loaded), whether or not partitions are assigned."""
        ...

    def ready(self) -> tuple[bool, str]:
        """Whether all is assigned, restored and loaded, and in words what is missing."""
        ...

    def owner(self, user_id: str) -> Owner:
        """Who looks after the user: only they can say that there is no such user."""
        ...


# ---- in words -------------------------------------------------------------------------------------------------------

NOTHING = "—"


def number(value: float | None) -> str:
    """A count or rate for people: ``0.25``, ``1,234``, ``12.3k``, ``4.56M``; a dash for none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    size = abs(value)
    if size >= 9_999.5:
        power = min(int(math.log10(size * 1.0005)) // 3, 4)
        return f"{value / 1000**power:.3g}{' kMGT'[power]}"
    if size >= 99.95 or float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:.1f}" if size >= 9.95 else f"{value:.2g}"


def duration(seconds: float | None) -> str:
    """A span for people: ``0 s``, ``3.4 ms``, ``1.2 s``, ``2 min 5 s``, ``3 h 20 min``, ``12 d``."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    if seconds <= 0:
        return "0 s"
    if seconds < 0.9995:
        millis = seconds * 1000
        return f"{millis:.1f} ms" if millis < 10 else f"{millis:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86_400
    if minutes < 60:
        return f"{minutes} min {whole % 60} s"
    if hours < 48:
        return f"{hours} h {minutes % 60} min"
    return f"{days} d {hours % 24} h" if days < 14 else f"{days} d"


def span(seconds: float) -> str:
    """A length that somebody wrote down: ``20 s``, ``1 h``, ``7 d``, ``1 h 30 min``; nothing is rounded away."""
    parts, left = [], round(seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or "0 s"


def moment(value: object) -> str:
    """A time as ``2026-01-31 17:05:09`` (UTC): seconds since the epoch, or ISO 8601 text as it came."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S")
        except (OverflowError, OSError, ValueError):
            return NOTHING
    if isinstance(value, str) and value:
        return value[:19].replace("T", " ")
    return NOTHING


def clock(value: object, now: float) -> str:
    """As ``moment``, without the date when it is that of ``now``."""
    told, today = moment(value), moment(now)
    return told[11:] if told[:10] == today[:10] and len(told) == len(today) else told


def plain(value: object) -> str:
    """Any JSON value on one line, for people."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return NOTHING
    if isinstance(value, (int, float)):
        return number(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{label(key)} {plain(inner)}" for key, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return ", ".join(plain(inner) for inner in value)
    return str(value)


def counted(value: object) -> str:
    """What a window counted, to the cent: it is compared with what a rule says, so 164.8 is not 165."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value):
        return f"{value:,.2f}".rstrip("0").rstrip(".")
    return plain(value)


def label(key: object) -> str:
    """A field name for people: ``spend_7d`` becomes ``spend 7d``."""
    return str(key).replace("_", " ")


_ORIGINS = {
    "event": "an event",
    "expiry": "time passed",
    "neighbour": "someone they follow changed",
    "feedback": "feedback changed the learned head",
    "definition": "the segment's definition changed",
    "merge": "an anonymous and a known user became one",
    "replay": "replay",
    "erasure": "the user was forgotten",
}


def reason_words(reason: object) -> str:
    """The reason of a change or membership (``streams.wire.emit.Reason``, or any JSON value) as one line.

    The summary comes first, then the rule or description unless the summary has it; shares of evidence become
    percentages, largest first; the triggering event's id comes last. A field not known here is told as it is.
    """
    if not isinstance(reason, Mapping):
        return plain(reason) if reason not in (None, "") else ""
    summary = str(reason.get("summary") or "")
    parts = [summary] if summary else []
    shares: Mapping[Any, Any] = {}
    for key, value in reason.items():
        if key in ("summary", "event") or value in (None, "", [], {}):
            continue
        if key == "shares" and isinstance(value, Mapping):
            shares = value
        elif key in ("rule", "words"):
            if str(value) not in summary:
                parts.append(f"{key}: {value}")
        elif key != "values" or not summary:  # the summary names the values
            parts.append(f"{label(key)} {plain(value)}")
    known = {name: share for name, share in shares.items() if isinstance(share, (int, float))}
    if known and not all(f"{share:.0%}" in summary for share in known.values()):
        ranked = sorted(known.items(), key=lambda pair: -pair[1])
        parts.append(", ".join(f"{label(name)} {share:.0%}" for name, share in ranked))
    if reason.get("event"):
        parts.append(f"event {reason['event']}")
    return " · ".join(parts)


def origin_words(origin: object) -> str:
    """What set a change off, in words; an unknown origin as it is."""
    return _ORIGINS.get(str(origin), str(origin or ""))


def user_href(user_id: str) -> str:
    """The address of a user's page. Browsers resolve the paths ``.`` and ``..``, so these go into the query."""
    quoted = quote(user_id, safe="")
    return f"/user?id={quoted}" if user_id in (".", "..", "") else f"/user/{quoted}"
