"""The commands ``segments replay …``: one for each source of records."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from streams.tools.options import Bootstrap, Prefix
from streams.tools.terminal import CommandError, connection, kafka_at, printable, read_settings, until_signal

if TYPE_CHECKING:
    from streams.tools.replay import ReplayReport
    from streams.tools.sources import Source

replays = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Send recorded or simulated events to Kafka, at full speed or paced.",
    epilog="Example: segments replay town --rate 400",
)

Rate = Annotated[float | None, typer.Option(help="Records a second; default: as fast as the brokers take them.")]
Speedup = Annotated[
    float | None, typer.Option(help="Seconds of event time that pass in one second, such as 3600 (not with --rate).")
]

_TOWN_RATE = 100.0  # records a second of event time, where nothing says how fast the town lives


@replays.command(epilog="Example: segments replay stackexchange data/stackexchange-quantumcomputing --speedup 86400")
def stackexchange(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory of a Stack Exchange data dump.")],
    rate: Rate = None,
    speedup: Speedup = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """A Stack Exchange site: questions, answers, comments, favourites, bounties and who answers whom.

    The data is years old: let workers run with --clock event.
    """

    def source() -> Source:
        from streams.tools.sources import StackExchange  # noqa: PLC0415

        return StackExchange(directory)

    _replay(source, rate, speedup, bootstrap, prefix)


@replays.command(epilog="Example: segments replay complete-journey --limit 200000")
def complete_journey(
    limit: Annotated[int | None, typer.Option(min=0, help="At most this many events.")] = None,
    rate: Rate = None,
    speedup: Speedup = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """A year of purchases and coupons of 2,469 households.

    The data is years old: let workers run with --clock event.
    """

    def source() -> Source:
        from streams.tools.sources import CompleteJourney  # noqa: PLC0415

        return CompleteJourney(limit)

    _replay(source, rate, speedup, bootstrap, prefix)


@replays.command(epilog="Example: segments replay jsonl events.jsonl --rate 1000")
def jsonl(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="One JSON object a line: events or labels.")],
    rate: Rate = None,
    speedup: Speedup = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """The lines of a file, byte for byte: our own form, the Segment Spec, and labels."""

    def source() -> Source:
        from streams.tools.sources import JsonLines  # noqa: PLC0415

        return JsonLines(file)

    _replay(source, rate, speedup, bootstrap, prefix)


@replays.command(epilog="Example: segments replay town --events 100000 --seed 3")
def town(
    *,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same town.")] = 7,
    people: Annotated[int, typer.Option(min=2, help="People in the town.")] = 500,
    events: Annotated[int, typer.Option(min=0, help="Records, labels among them.")] = 20_000,
    start: Annotated[
        str | None, typer.Option(help="Event time of the first record: seconds or ISO 8601; default: see below.")
    ] = None,
    rate: Rate = None,
    speedup: Speedup = None,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """The simulated town, whose people have hidden tastes and change them half-way.

    With --rate the town lives now, in real time. Otherwise 100 records make a second of event time, and the last
    record is of now. With --start the same seed gives the same records, byte for byte.
    """
    pace = rate or _TOWN_RATE

    def source() -> Source:
        from streams.tools.sources import Records  # noqa: PLC0415
        from streams.tools.town import Town  # noqa: PLC0415

        first = _moment(start) if start else time.time() - (0.0 if rate else events / pace)
        return Records(f"town {seed}", Town(seed, people).events(events, first, pace), events)

    _replay(source, rate, speedup, bootstrap, prefix)


def _moment(text: str) -> float:
    from streams.wire.refused import RefusedError  # noqa: PLC0415
    from streams.wire.times import wire_seconds  # noqa: PLC0415

    try:
        return wire_seconds(float(text))
    except ValueError:
        pass
    try:
        return wire_seconds(text)
    except RefusedError as error:
        raise typer.BadParameter(str(error), param_hint="--start") from error


def _replay(
    make: Callable[[], Source],
    rate: float | None,
    speedup: float | None,
    bootstrap: str | None,
    prefix: str | None,
) -> None:
    if rate is not None and speedup is not None:
        raise typer.BadParameter("give --rate or --speedup, not both", param_hint="--rate, --speedup")
    for name, value in (("--rate", rate), ("--speedup", speedup)):
        if value is not None and not value > 0:
            raise typer.BadParameter("must be above 0", param_hint=name)
    settings = read_settings(bootstrap=bootstrap, topic_prefix=prefix)
    from streams.tools.replay import DeliveryError, replay  # noqa: PLC0415
    from streams.wire.topics import Topics  # noqa: PLC0415

    topics = Topics(settings.app, settings.topic_prefix)
    out = Console()
    try:
        source = make()
    except (FileNotFoundError, ModuleNotFoundError, ValueError) as error:  # as the sources document
        raise CommandError(str(error)) from error
    with kafka_at(settings), until_signal() as stopped:
        try:
            report = replay(
                source, connection(settings), topics, rate=rate, speedup=speedup,
                progress=Console(stderr=True), stop=stopped,
            )  # fmt: skip
        except DeliveryError as error:
            out.print(_summary(error.report, topics.events, topics.labels))
            raise
        except ValueError as error:  # a source that turns out broken while it is read
            raise CommandError(str(error)) from error
        out.print(_summary(report, topics.events, topics.labels))
        if stopped():
            out.print(Text("stopped before its end", style="yellow"))


def _summary(report: ReplayReport, events: str, labels: str) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_row(f"sent to {events}", f"{report.events:,}")
    table.add_row(f"sent to {labels}", f"{report.labels:,}")
    if report.failed:
        table.add_row(Text("not delivered", style="red"), f"{report.failed:,}")
    table.add_row("seconds", f"{report.seconds:.1f}")
    table.add_row("records a second", f"{report.rate:,.0f}")
    for reason, rows in sorted(report.skipped.items(), key=lambda pair: -pair[1]):
        table.add_row(f"skipped: {printable(reason)}", f"{rows:,}")
    return table
