"""``segments text-precision``: what an installation's texts are encoded in, and changing that for all workers."""

from __future__ import annotations

from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from streams.tools.options import AppName, Bootstrap, Prefix
from streams.tools.terminal import kafka_at, printable, read_settings


def text_precision(
    precision: Annotated[
        Literal["float32", "int8", "bf16"] | None,
        typer.Argument(help="What all workers encode texts in from now on; default: only say what it is."),
    ] = None,
    *,
    bootstrap: Bootstrap = None,
    app_name: AppName = None,
    prefix: Prefix = None,
) -> None:
    """What texts are encoded in, the same for all workers. To change it all workers are stopped.

    Vectors that there are already stay as they are: those of float32 and bf16 differ by little, those of int8 by more.
    """
    settings = read_settings(bootstrap=bootstrap, app=app_name, topic_prefix=prefix)
    from streams.kafka.text_precision import Log, change  # noqa: PLC0415 - not needed for --help
    from streams.tools.applying import default_author  # noqa: PLC0415
    from streams.wire.topics import Topics  # noqa: PLC0415

    with kafka_at(settings):
        if precision is None:
            newest = Log.of(settings, Topics(settings.app, settings.topic_prefix)).newest()
            said = str(newest) if newest else "nothing is recorded yet: the first worker that starts does it"
        else:
            before, now = change(settings, precision, default_author())
            if now.precision != precision:
                said = f"somebody else was first: {now}"
            elif before == now:
                said = f"it is {now} already; nothing was changed"
            else:
                said = f"{now}; before it was {before or 'not recorded'}. Start the workers"
    Console().print(Text(printable(said)), soft_wrap=True)
