"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Bootstrap = Annotated[
    str | None, typer.Option("--bootstrap", help="Kafka bootstrap servers; default: the setting.", metavar="HOST:PORT")
]
Prefix = Annotated[
    str | None, typer.Option("--prefix", help="Put before every name of the installation; default: the setting.")
]
AppName = Annotated[str | None, typer.Option("--app", help="Name of the service; default: the setting.")]
