"""What the demo shows: a live view on a terminal, plain lines elsewhere, and the summary."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from streams.ops.view import WorkerStatus, duration, number
from streams.tools.agreement import Agreement
from streams.tools.replay import ReplayReport
from streams.tools.terminal import printable
from streams.tools.watch import Seen, change_line

_KEPT = 50
_BAR = 12  # characters of the longest bar
_PLAIN_EVERY = 5.0  # seconds between two lines where there is no terminal
_PLAIN_CHANGES = 3  # changes told with each of them


@dataclass
class Moment:
    """What is known now. Times in seconds; ``elapsed`` since the town lives; ``changes`` newest first."""

    url: str
    phase: str = "starting"
    now: float = 0.0
    elapsed: float = 0.0
    sent: int = 0
    status: WorkerStatus | None = None
    seen: int = 0
    changes: deque[Seen] = field(default_factory=lambda: deque(maxlen=_KEPT))


class Screen(Protocol):
    """Where moments are shown."""

    def __enter__(self) -> Screen: ...

    def __exit__(self, *_: object) -> None: ...

    def show(self, moment: Moment) -> None:
        """Called several times a second."""


class LiveScreen:
    """Redraws one view in place; its last state stays on the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")

    def __enter__(self) -> LiveScreen:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, moment: Moment) -> None:
        """Draw the moment in the size that the terminal has now."""
        self._live.update(view(moment, self._console.height), refresh=True)


class PlainScreen:
    """A line every five seconds, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._next = 0.0
        self._told = 0

    def __enter__(self) -> PlainScreen:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, moment: Moment) -> None:
        """Print a line and the newest changes, each once, when it is time for them."""
        if moment.now < self._next:
            return
        self._next = moment.now + _PLAIN_EVERY
        self._console.print(Text(f"{moment.elapsed:5.0f} s  ") + _figures(moment), soft_wrap=True)
        fresh, self._told = moment.seen - self._told, moment.seen
        for seen in list(moment.changes)[: min(fresh, _PLAIN_CHANGES)]:
            self._console.print(Text("         ") + change_line(seen, moment.now), soft_wrap=True)


def screen_for(console: Console) -> Screen:
    """The live view where somebody can see it."""
    return LiveScreen(console) if console.is_terminal else PlainScreen(console)


def view(moment: Moment, height: int) -> RenderableType:
    """Figures on top, segment sizes on the left, changes on the right; ``height`` is the terminal's, in lines."""
    segments = Table("segment", "users", "", box=None, header_style="dim", padding=(0, 1, 0, 0))
    found = moment.status.segments if moment.status else []
    most = max((each.users for each in found), default=0) or 1
    for each in found:
        bar = "█" * round(_BAR * each.users / most)
        segments.add_row(Text(printable(each.id), style="cyan"), f"{each.users:,}", Text(bar, style="green"))
    rows = max(5, min(height - 8, max(12, len(found) + 1)))
    changes = Table.grid()
    changes.add_column(no_wrap=True, overflow="ellipsis")
    for seen in list(moment.changes)[:rows]:
        changes.add_row(change_line(seen, moment.now))
    both = Table.grid(padding=(0, 2, 0, 0), expand=True)
    both.add_column()
    both.add_column(ratio=1, no_wrap=True, overflow="ellipsis")
    both.add_row(segments, changes)
    head = Text("page ") + Text(moment.url, style="bold underline") + Text("   (Ctrl-C ends)", style="dim")
    return Panel(Group(head, _figures(moment), "", both), title="live segments", border_style="blue")


def _figures(moment: Moment) -> Text:
    text = Text(moment.phase, style="bold")
    status = moment.status
    parts = [f"sent {moment.sent:,}"]
    if status is not None:
        lag = "lag not known yet" if status.lag_records is None else f"lag {status.lag_records:,}"
        if status.lag_seconds:
            lag += f" ({duration(status.lag_seconds)})"
        parts += [
            f"counted {status.events_total:,}",
            f"{number(status.events_per_second)} events/s",
            lag,
            f"encode queue {status.encode_queue_depth:,}",
        ]
    parts.append(f"changes {moment.seen:,}")
    return text.append("  ·  " + "  ·  ".join(parts), style="not bold")


@dataclass(frozen=True)
class Look:
    """Agreement with the truth at one moment: of all people, and of those alone whose taste changes."""

    when: str
    everybody: Agreement
    changing: Agreement


@dataclass(frozen=True)
class Summary:
    """How a demo went. ``drained``: seconds from the last record sent to lag 0, None when it did not get there."""

    report: ReplayReport
    status: WorkerStatus
    duplicates: int
    changes: int
    drained: float | None
    looks: list[Look]

    @property
    def left(self) -> str:
        """What was not done at the end, in words."""
        return (
            f"{self.status.lag_records or 0:,} records and {self.status.encode_queue_depth:,} users to encode are left"
        )


def summary_view(summary: Summary) -> RenderableType:
    """The summary as two tables and one sentence about the lag."""
    status, report = summary.status, summary.report
    refused = ", ".join(f"{reason} {count}" for reason, count in sorted(status.dead_letters.items()))
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column()
    facts.add_row("sent", f"{report.events:,} events, {report.labels:,} labels in {report.seconds:.1f} s")
    facts.add_row("events counted", f"{status.events_total:,}")
    facts.add_row("duplicates", f"{summary.duplicates:,}")
    facts.add_row("refused", printable(refused) if refused else "none")
    facts.add_row("changes", f"{summary.changes:,} read by a subscriber, {status.changes_total:,} told by the worker")
    facts.add_row("lag at the end", _lag(summary))
    for lane, found in status.latency.items():
        words = "nothing" if found.p50 is None else f"p50 {duration(found.p50)}, p99 {duration(found.p99)}"
        facts.add_row(f"event → change, {printable(lane)} lane", words)
    for head in status.heads:
        accuracy = "" if head.accuracy is None else f", predicted before learning: {head.accuracy:.0%} right"
        facts.add_row(f"head {printable(head.group)}", f"{head.seen:,} labels{accuracy}")
    return Group(
        Text("Summary", style="bold"), facts, "", Text("Learned segments and the hidden truth", style="bold"),
        Text("placed: in a taste-… segment; right: of these, in the one of their true taste now; changing: the people "
             "whose taste changes half-way", style="dim"),
        _looks(summary.looks),
    )  # fmt: skip


def _lag(summary: Summary) -> str:
    if summary.drained is None:
        return f"not caught up: {summary.left}"
    return f"0 records, {duration(max(summary.drained, 0.0))} after the last one was sent"


def _looks(looks: list[Look]) -> Table:
    table = Table("", "all: placed", "right", "changing: placed", "right", box=None, header_style="dim")
    for look in looks:
        table.add_row(look.when, *_shares(look.everybody), *_shares(look.changing))
    return table


def _shares(found: Agreement) -> tuple[str, str]:
    right = "—" if found.share is None else f"{found.share:.0%} ({found.right}/{found.placed})"
    return f"{found.coverage:.0%} ({found.placed}/{found.people})", right
