"""Follows the public topic ``segment-changes`` and shows each change as a line that people can read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
from rich.console import Console
from rich.text import Text

from streams.kafka.admin import ConfValue
from streams.ops.view import clock, origin_words, reason_words
from streams.tools.reader import TopicReader
from streams.tools.terminal import printable
from streams.wire.emit import Change
from streams.wire.times import iso_seconds


class _Properties(msgspec.Struct):
    audience_key: str
    reason: object = None
    origin: str = "event"


class _Audience(msgspec.Struct):
    """Segment's track call, as far as it is shown."""

    event: str
    user: str = msgspec.field(name="userId")
    timestamp: str = ""
    properties: _Properties = msgspec.field(default_factory=lambda: _Properties(""))


_change = msgspec.json.Decoder(Change)
_audience = msgspec.json.Decoder(_Audience)


@dataclass(frozen=True)
class Seen:
    """One change as it is shown; ``time`` in seconds since the epoch is when it was decided."""

    user: str
    segment: str
    entered: bool
    reason: str
    origin: str
    time: float


def read_change(value: bytes) -> Seen:
    """A value of ``segment-changes`` in either of its two forms. Raises ValueError (of msgspec) for anything else."""
    try:
        change = _change.decode(value)
    except msgspec.ValidationError:
        call = _audience.decode(value)
        about = call.properties
        time = iso_seconds(call.timestamp) if call.timestamp else 0.0
        entered = call.event == "Audience Entered"
        return Seen(call.user, about.audience_key, entered, reason_words(about.reason), about.origin, time)
    reason = reason_words(msgspec.to_builtins(change.reason))
    entered = change.change == "entered"
    return Seen(change.user, change.segment, entered, reason, change.origin, change.processed_at)


def change_line(seen: Seen, now: float) -> Text:
    """``12:00:01 + ada-0001 food-lovers  because …``, green for entered, red for exited."""
    line = Text(clock(seen.time, now), style="dim")
    line.append(" + " if seen.entered else " - ", style="bold green" if seen.entered else "bold red")
    line.append(printable(seen.user), style="bold")
    line.append(" entered " if seen.entered else " left ", style="green" if seen.entered else "red")
    line.append(printable(seen.segment), style="cyan")
    if seen.reason:
        line.append(f"  {printable(seen.reason)}")
    if seen.origin != "event":
        line.append(f"  ({printable(origin_words(seen.origin))})", style="dim")
    return line


def watch(
    conf: Mapping[str, ConfValue],
    topic: str,
    out: Console,
    notes: Console,
    *,
    clock_now: Callable[[], float],
    stop: Callable[[], bool],
    user: str = "",
    segment: str = "",
    from_start: bool = False,
    limit: int | None = None,
    as_json: bool = False,
) -> int:
    """Show changes until ``stop`` says so or ``limit`` of them were shown; returns how many were.

    ``as_json`` writes each value as it was published, one a line. Notes (what is watched, trouble) go to ``notes``.
    Raises AdminError when the topic or the brokers are missing.
    """
    shown = 0
    with TopicReader(conf, topic, from_start=from_start, group="segments-watch") as reader:
        notes.print(Text(f"watching {topic} (Ctrl-C ends)", style="dim"))
        told = ""
        while not stop() and (limit is None or shown < limit):
            records = reader.read()
            if reader.trouble != told:
                told = reader.trouble
                notes.print(Text(f"waiting: {told}" if told else "connected again", style="yellow"), soft_wrap=True)
            for record in records:
                value = record.value()
                if value is None:
                    continue
                try:
                    seen = read_change(value)
                except ValueError as error:
                    where = f"{topic}[{record.partition()}] at {record.offset()}"
                    notes.print(Text(f"{where} is not a change: {printable(str(error))}", style="yellow"))
                    continue
                if (user and seen.user != user) or (segment and seen.segment != segment):
                    continue
                if as_json:
                    out.out(value.decode(), highlight=False)
                else:
                    out.print(change_line(seen, clock_now()), soft_wrap=True)
                shown += 1
                if shown == limit:
                    break
    return shown
