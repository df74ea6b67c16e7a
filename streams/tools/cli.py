"""The command ``segments``. Commands import what they need when they run, so that ``--help`` answers at once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from streams.tools.accepting import accept_topic
from streams.tools.options import AppName, Bootstrap, Prefix
from streams.tools.repartitioning import repartition
from streams.tools.replaying import replays
from streams.tools.terminal import (
    CommandError,
    Commands,
    connection,
    kafka_at,
    printable,
    read_settings,
    sigterm_interrupts,
    until_signal,
)
from streams.tools.text_precision import text_precision
from streams.tools.variables import refuse_unknown_variables

app = typer.Typer(
    name="segments",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Who is in which segment, right now. Settings come from SEGMENTS_… variables and the TOML file that "
    "SEGMENTS_CONFIG names; options win.",
    epilog="Example: segments demo",
)
app.add_typer(replays, name="replay")

WebPort = Annotated[
    int | None, typer.Option(min=0, max=65_535, help="Port of page, metrics and health; 0 takes a free one.")
]


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Who is in which segment, right now."""
    del debug  # read by Commands
    refuse_unknown_variables()


@app.command(epilog="Example: segments worker --segments-file segments.toml --web-port 6066")
def worker(
    *,
    bootstrap: Bootstrap = None,
    app_name: AppName = None,
    prefix: Prefix = None,
    segments_file: Annotated[Path | None, typer.Option(help="TOML file of segment definitions.")] = None,
    clock: Annotated[
        Literal["wall", "event"] | None,
        typer.Option(help="What drives window expiry; event: for old data."),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Directory of this worker's state caches.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of this worker; its state lives under it.")] = None,
    web_host: Annotated[str | None, typer.Option(help="Address of page, metrics and health.")] = None,
    web_port: WebPort = None,
    stop_with_stdin: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Run one worker until SIGTERM or Ctrl-C. All other settings: `segments settings`."""
    settings = read_settings(
        bootstrap=bootstrap,
        app=app_name,
        topic_prefix=prefix,
        segments_file=segments_file,
        clock=clock,
        data_dir=data_dir,
        worker_name=name,
        web_host=web_host,
        web_port=web_port,
    )
    from streams.tools.logs import set_up_logging  # noqa: PLC0415
    from streams.tools.workers import serve  # noqa: PLC0415

    set_up_logging(settings.log_level, settings.secrets)
    serve(settings, stop_with_stdin=stop_with_stdin)


@app.command(epilog="Example: segments broker --port 9092")
def broker(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port on loopback; 0 takes a free one.")] = 9092,
    data_dir: Annotated[Path, typer.Option(help="Where the topics live; they survive a restart.")] = Path(
        ".segments/kafka"
    ),
) -> None:
    """Run a real Apache Kafka (one node, on loopback) until Ctrl-C."""
    from streams.kafka.broker import EmbeddedBroker  # noqa: PLC0415

    out = Console()
    running = EmbeddedBroker(data_dir, port)
    out.print("starting Apache Kafka …", style="dim")
    with sigterm_interrupts(), running, until_signal() as stopped:
        out.print(Text(f"bootstrap {running.bootstrap}", style="bold green"))
        out.print(Text(f"data and log in {running.data_dir}; Ctrl-C ends", style="dim"), soft_wrap=True)
        while not stopped() and running.running:
            time.sleep(0.2)
        if not stopped():
            raise CommandError(f"Kafka ended by itself; see {running.log_path}")
        out.print("stopping …", style="dim")


@app.command(epilog="Example: segments topics --partitions 8")
def topics(
    bootstrap: Bootstrap = None,
    app_name: AppName = None,
    prefix: Prefix = None,
    partitions: Annotated[int | None, typer.Option(min=1, help="Partitions of each topic.")] = None,
    replication: Annotated[int | None, typer.Option(min=1, help="Replicas of each partition.")] = None,
) -> None:
    """Create the topics that are missing, and show what differs in those that exist."""
    settings = read_settings(
        bootstrap=bootstrap, app=app_name, topic_prefix=prefix, partitions=partitions, replication=replication
    )
    from rich.table import Table  # noqa: PLC0415

    from streams.kafka.admin import create_topics  # noqa: PLC0415
    from streams.kafka.definitions import keep_for_good  # noqa: PLC0415
    from streams.wire.topics import Topics  # noqa: PLC0415

    named = Topics(settings.app, settings.topic_prefix)
    specs = named.specs(settings.partitions, settings.retention_days)
    with kafka_at(settings):
        mended = keep_for_good(connection(settings), named.definitions)
        done = create_topics(connection(settings), specs, settings.replication)
    table = Table("topic", "what", "partitions", "kept", "state", box=None, header_style="dim")
    for spec in specs:
        state = Text("created", style="green") if spec.name in done.created else Text("exists", style="cyan")
        days = int(spec.config.get("retention.ms", 0)) // 86_400_000
        limited = f"{days} days" if days > 0 else "for good"
        kept = "newest by key" if "compact" in spec.config["cleanup.policy"] else limited
        table.add_row(spec.name, spec.what, str(spec.partitions), kept, state)
    out = Console()
    out.print(table)
    if mended:
        out.print(Text(f"{named.definitions} is kept for good from now on", style="green"), soft_wrap=True)
    for warning in done.warnings:
        out.print(Text(f"warning: {warning}", style="yellow"), soft_wrap=True)


@app.command(epilog="Example: segments audit --batch 500")
def audit(
    *,
    bootstrap: Bootstrap = None,
    app_name: AppName = None,
    prefix: Prefix = None,
    segments_file: Annotated[Path | None, typer.Option(help="TOML file of segment definitions.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Directory of the state caches.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Batches are cut at multiples of this many offsets.")] = 500,
    scope: Annotated[
        str, typer.Option(help="Name of the audit's own topics and state; a new one begins at the start.")
    ] = "audit",
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Write the installation's own topics; only while no worker runs.")
    ] = False,
) -> None:
    """Work all events off once, deterministically: the same input gives the same changes, learned ones included.

    A running installation is left alone: what is written goes to topics of the audit, such as audit-segment-changes.
    """
    settings = read_settings(
        bootstrap=bootstrap, app=app_name, topic_prefix=prefix, segments_file=segments_file, clock="event",
        data_dir=data_dir,
    )  # fmt: skip
    from streams.tools.logs import set_up_logging  # noqa: PLC0415

    set_up_logging("WARNING", settings.secrets)
    out = Console()
    with kafka_at(settings):
        from streams.auditing import run_audit  # noqa: PLC0415 - torch takes seconds

        with out.status("reading the models …") as status:
            done = run_audit(
                settings, batch, lambda count: status.update(f"{count:,} records of this partition"),
                None if in_place else scope,
            )  # fmt: skip
    out.print(
        f"{done.events:,} events of {done.users:,} users, {done.duplicates:,} duplicates, {done.changes:,} changes"
    )
    for segment, members in sorted(done.members.items()):
        out.print(Text(f"  {segment}: {members:,}"))
    out.print(Text(f"changes are in {done.topic}", style="dim"))


@app.command(epilog="Example: segments watch --segment taste-food --from-start")
def watch(
    *,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
    user: Annotated[str, typer.Option(help="Only this user.")] = "",
    segment: Annotated[str, typer.Option(help="Only this segment.")] = "",
    from_start: Annotated[bool, typer.Option("--from-start", help="From the oldest change that is kept.")] = False,
    limit: Annotated[int | None, typer.Option("--max", min=1, help="End after this many changes.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Each change as it was published, one a line.")] = False,
) -> None:
    """Follow the changes of segments as any subscriber can read them (read_committed)."""
    settings = read_settings(bootstrap=bootstrap, topic_prefix=prefix)
    from streams.tools import watch as watching  # noqa: PLC0415
    from streams.wire.topics import Topics  # noqa: PLC0415

    topic = Topics(settings.app, settings.topic_prefix).changes
    with kafka_at(settings), until_signal() as stopped:
        watching.watch(
            connection(settings), topic, Console(), Console(stderr=True), clock_now=time.time, stop=stopped,
            user=user, segment=segment, from_start=from_start, limit=limit, as_json=as_json,
        )  # fmt: skip


@app.command(epilog="Example: segments user ada-0001")
def user(
    user_id: Annotated[str, typer.Argument(metavar="ID", help="The user id.")],
    url: Annotated[
        str | None, typer.Option(help="A worker's address; default: http://127.0.0.1:6066, or the settings'.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As the worker answers.")] = False,
) -> None:
    """What a running worker knows of a user, and why the user is in each segment."""
    if url is None:
        settings = read_settings()
        host = f"[{settings.web_host}]" if ":" in settings.web_host else settings.web_host
        url = f"http://{host}:{settings.web_port}"
    import msgspec  # noqa: PLC0415

    from streams.ops.view import UserView  # noqa: PLC0415
    from streams.tools.lookup import WorkerClient, show_user  # noqa: PLC0415

    try:
        client = WorkerClient(url)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--url") from error
    body = client.user_json(user_id)
    out = Console()
    if as_json:
        out.out(body.decode(), highlight=False)
    else:
        out.print(show_user(msgspec.json.decode(body, type=UserView)))


@app.command(epilog="Example: segments erasure ada-0001")
def erasure(
    user_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the user who was to be erased.")],
    bootstrap: Bootstrap = None,
    app_name: AppName = None,
    prefix: Prefix = None,
    as_json: Annotated[bool, typer.Option("--json", help="The receipts as one JSON object.")] = False,
) -> None:
    """Which partitions have proved that nothing of an erased user is left in them; status 1 if not all have."""
    settings = read_settings(bootstrap=bootstrap, app=app_name, topic_prefix=prefix)
    import msgspec  # noqa: PLC0415

    from streams.tools.erasures import read_proof, show_proof  # noqa: PLC0415
    from streams.wire.receipts import erasure_digest, erasure_key  # noqa: PLC0415
    from streams.wire.topics import Topics  # noqa: PLC0415

    key = erasure_key(settings.erasure_secret.get_secret_value(), settings.app)
    topic = Topics(settings.app, settings.topic_prefix).receipts
    with kafka_at(settings):
        proof = read_proof(connection(settings), topic, erasure_digest(user_id, key).hex())
    out = Console()
    if as_json:
        out.print_json(msgspec.json.encode(proof).decode())
    else:
        out.print(show_proof(proof), soft_wrap=True)
    if not proof.complete:
        raise typer.Exit(1)


@app.command(epilog="Example: segments check segments.toml")
def check(file: Annotated[Path, typer.Argument(help="TOML file of segment definitions.")]) -> None:
    """Check a file of segment definitions and show what is in it."""
    from streams.steps.segments import load_plan  # noqa: PLC0415
    from streams.tools.applying import warn_of_forgetting  # noqa: PLC0415
    from streams.tools.tables import plan_table  # noqa: PLC0415

    plan = load_plan(file)
    out = Console()
    out.print(plan_table(plan))
    out.print(Text(f"{len(plan.segments)} segments; the file can be used", style="green"))
    warn_of_forgetting(plan, read_settings())


@app.command(name="apply", epilog="Example: segments apply segments.toml --comment 'a longer window'")
def apply_file(
    file: Annotated[Path, typer.Argument(help="TOML file of segment definitions, or `demo` for the built-in set.")],
    author: Annotated[str | None, typer.Option(help="Who publishes them; default: user@host.")] = None,
    comment: Annotated[str, typer.Option(help="Why.")] = "",
    empty: Annotated[
        bool, typer.Option("--empty", help="The file has no segments, and all memberships are to end.")
    ] = False,
    bootstrap: Bootstrap = None,
    prefix: Prefix = None,
) -> None:
    """Make a file the next version of the segment definitions: all workers change over to it, none goes back."""
    settings = read_settings(bootstrap=bootstrap, topic_prefix=prefix)
    from streams.steps.segments import load_plan  # noqa: PLC0415
    from streams.tools.applying import apply_definitions, default_author, warn_of_forgetting  # noqa: PLC0415
    from streams.wire.topics import Topics  # noqa: PLC0415

    plan = load_plan(file)
    topic = Topics(settings.app, settings.topic_prefix).definitions
    with kafka_at(settings):
        by = author or default_author()
        kept = settings.keep_unused_days * 86_400.0
        done = apply_definitions(connection(settings), topic, plan, by, comment, empty=empty, keep_seconds=kept)
    Console().print(Text(printable(done)), soft_wrap=True)
    warn_of_forgetting(plan, settings)


@app.command(epilog="Example: segments definitions")
def definitions(bootstrap: Bootstrap = None, prefix: Prefix = None) -> None:
    """The versions of the segment definitions, newest first: the newest is in force."""
    settings = read_settings(bootstrap=bootstrap, topic_prefix=prefix)
    from streams.kafka.definitions import NONE_YET, read_ledger  # noqa: PLC0415
    from streams.tools.applying import versions_table  # noqa: PLC0415
    from streams.wire.topics import Topics  # noqa: PLC0415

    with kafka_at(settings):
        ledger = read_ledger(connection(settings), Topics(settings.app, settings.topic_prefix).definitions)
    Console().print(versions_table(ledger) if ledger.versions else NONE_YET)


app.command("accept-topic", epilog="Example: segments accept-topic user-events")(accept_topic)
app.command(epilog="Example: segments repartition 8 --dry-run")(repartition)
app.command("text-precision", epilog="Example: segments text-precision bf16")(text_precision)


@app.command(name="settings", epilog="Example: SEGMENTS_WEB_PORT=7000 segments settings")
def show_settings(
    as_json: Annotated[bool, typer.Option("--json", help="Present values as one JSON object.")] = False,
) -> None:
    """Every setting: its variable, default, present value and what it is for."""
    settings = read_settings()
    from streams.tools.tables import settings_lines  # noqa: PLC0415

    out = Console()
    if as_json:
        out.print_json(data=settings.model_dump(mode="json"))  # pydantic masks secrets
    else:
        for line in settings_lines(settings):
            out.print(line, soft_wrap=True)


@app.command(epilog="Example: segments demo --seconds 60")
def demo(
    *,
    seconds: Annotated[float, typer.Option(min=5, help="How long the town lives, once all is ready.")] = 90.0,
    people: Annotated[int, typer.Option(min=2, help="People in the town.")] = 300,
    rate: Annotated[float, typer.Option(min=1, help="Records a second.")] = 400.0,
    seed: Annotated[int, typer.Option(min=0, help="The same seed makes the same town.")] = 7,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of Kafka; 0 takes a free one.")] = 0,
    web_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port of the page; 0 takes 6066, or a free one if that is taken.")
    ] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the directory with topics, state and the log.")] = False,
) -> None:
    """Kafka, a worker and a simulated town on this machine: events become explained changes before your eyes."""
    from streams.tools.demo import Demo, run_demo  # noqa: PLC0415

    run_demo(Demo(seconds, people, rate, seed, port, web_port, keep), Console())


def main() -> None:
    """Entry point of the command."""
    app()


if __name__ == "__main__":
    main()
