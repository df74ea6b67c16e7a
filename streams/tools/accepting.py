"""``segments accept-topic``: go on with a source topic that was made anew."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from streams.tools.options import AppName, Bootstrap, Prefix
from streams.tools.terminal import kafka_at, read_settings


def accept_topic(
    topic: Annotated[str, typer.Argument(help="The topic's full name, as the worker's message has it.")],
    *,
    bootstrap: Bootstrap = None,
    app_name: AppName = None,
    prefix: Prefix = None,
    at: Annotated[
        Literal["start", "end"] | None,
        typer.Option(help="Where to go on; default: at the start of a topic that was made anew."),
    ] = None,
) -> None:
    """Go on with a topic that was made anew or lost its end. All workers are stopped; users and memberships stay.

    What is in the new topic and was counted from the old one counts again, unless its id is still remembered.
    """
    settings = read_settings(bootstrap=bootstrap, app=app_name, topic_prefix=prefix)
    from streams.app import make_place  # noqa: PLC0415 - its imports take seconds
    from streams.kafka.acceptance import accept_topic as accept  # noqa: PLC0415

    with kafka_at(settings):
        done = accept(settings, topic, at, lambda partition, count: make_place(settings, partition, count))
    out = Console()
    for each in done:
        out.print(Text(f"{topic}-{each.partition}: goes on at {each.after}, no longer at {each.before}"))
    if not done:
        out.print(Text(f"{topic} is what the state says it is; nothing was changed"))
