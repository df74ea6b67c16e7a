"""The command ``segments repartition``: an installation gets more partitions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.text import Text

from streams.tools.options import AppName, Bootstrap, Prefix
from streams.tools.terminal import kafka_at, read_settings

if TYPE_CHECKING:
    from streams.kafka.repartition import Report
    from streams.settings import Settings


def repartition(
    partitions: Annotated[int, typer.Argument(min=2, metavar="N", help="How many partitions there are to be.")],
    *,
    bootstrap: Bootstrap = None,
    app_name: AppName = None,
    prefix: Prefix = None,
    segments_file: Annotated[
        Path | None, typer.Option(help="TOML file of segment definitions: that of the workers.")
    ] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where there is room for a copy of all state, which is removed at the end.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and write nothing.")] = False,
) -> None:
    """Move all state to more partitions, while no worker runs; run it again if it was interrupted."""
    settings = read_settings(
        bootstrap=bootstrap, app=app_name, topic_prefix=prefix, segments_file=segments_file, data_dir=data_dir
    )  # fmt: skip
    from streams.kafka.checkpoints import checkpoint_of_tests  # noqa: PLC0415 - not needed for --help
    from streams.kafka.repartition import Repartition  # noqa: PLC0415 - not needed for --help

    out = Console()

    def note(what: str) -> None:
        out.print(Text(what, style="dim"), soft_wrap=True)

    directory = settings.data_dir / "repartition" / settings.installation
    with kafka_at(settings):
        work_off = working_off(settings, directory, note)
        report = Repartition(settings, partitions, directory, work_off, note, checkpoint_of_tests()).run(dry=dry_run)
    out.print(Text(summary(report, dry_run), style="green"), soft_wrap=True)


def summary(report: Report, dry: bool) -> str:
    """What was done, or would be, in a few lines."""
    if report.before == report.after:
        return f"the installation has {report.after} partitions already: nothing is to be done"
    begin = "would move" if dry else "moved"
    lines = [
        f"{begin} from {report.before} to {report.after} partitions: {report.moved:,} of {report.users:,} users have "
        "another home",
        f"records of the changelog: {report.written:,} written, {report.deleted:,} deleted; "
        f"{report.snapshots:,} records of user-segments moved",
    ]
    if report.resumed:
        lines.append("an attempt before was interrupted; what it did is not in these counts")
    if report.unread and dry:
        lines.append("not all is processed: that would be worked off first, and may change these counts")
    if report.late:
        lines.append(
            "meanwhile somebody has sent to the old partitions: workers take that to where its users live, each record "
            "once, but not in the order of arrival"
        )
    if not dry:
        lines.append(f"start the workers again; set SEGMENTS_PARTITIONS={report.after}, which `segments topics` reads")
    return "\n".join(lines)


def working_off(settings: Settings, directory: Path, note: Callable[[str], None]) -> Callable[[int], None]:
    """What works off, with so many partitions, what was not processed; local stores go to ``directory``."""

    def work_off(partitions: int) -> None:
        from state.store import SharedMemory  # noqa: PLC0415 - seldom needed, and the models take seconds
        from streams.app import make_place  # noqa: PLC0415
        from streams.kafka.definitions import plan_to_audit  # noqa: PLC0415
        from streams.kafka.draining import drain  # noqa: PLC0415
        from streams.kafka.text_precision import Log, as_recorded  # noqa: PLC0415
        from streams.kafka.writer import PartitionWriter  # noqa: PLC0415
        from streams.loading import load_models  # noqa: PLC0415
        from streams.steps.in_force import InForce  # noqa: PLC0415
        from streams.wire.topics import Topics  # noqa: PLC0415

        own = settings.model_copy(update={"data_dir": directory / "turns"})
        topics = Topics(own.app, own.topic_prefix)
        version, plan = plan_to_audit(own.librdkafka(), topics.definitions, own)
        precision = as_recorded(Log.of(own, topics), own.text_precision)
        present = InForce(version, plan, load_models(own, plan, precision))
        memory = SharedMemory(own.rocksdb_cache_mb)
        writers = [
            PartitionWriter(own, lambda: present, make_place(own, number, partitions), memory)
            for number in range(partitions)
        ]
        drain(own, writers, note)

    return work_off
