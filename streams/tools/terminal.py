"""What the commands share: errors in one sentence, consoles, settings with options on top, and how a run is ended."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

if TYPE_CHECKING:
    from streams.settings import Settings

#: packages whose exceptions carry messages that were written for people
_OURS = ("streams", "state", "encoders")


class CommandError(RuntimeError):
    """A command cannot do what was asked; the message is for the person who typed it."""


class Commands(TyperGroup):
    """The group of all commands: an exception becomes one message on stderr and exit status 1, unless ``--debug``."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (typer.TyperException, typer.Exit, typer.Abort, BrokenPipeError):
            raise  # typer's own: usage errors (status 2) and orderly ends
        except Exception as error:
            if ctx.params.get("debug"):
                raise
            print_error(explain(error))
            raise typer.Exit(1) from error


def explain(error: BaseException) -> str:
    """The error in words, without a traceback."""
    if type(error).__module__.partition(".")[0] in _OURS:
        return str(error)
    if type(error).__name__ == "KafkaException" and error.args and hasattr(error.args[0], "str"):
        return f"Kafka says: {error.args[0].str()}"
    if isinstance(error, OSError) and error.strerror:
        about = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{about}"
    return f"unexpected {type(error).__name__}: {error} (`segments --debug …` shows where)"


def print_error(message: str) -> None:
    """In red on stderr, each line whole."""
    Console(stderr=True).print(Text("error: " + printable(message, keep="\n"), style="bold red"), soft_wrap=True)


def print_warning(message: str) -> None:
    """In yellow on stderr: what was asked for is done, but there is something to know."""
    Console(stderr=True).print(Text("warning: " + printable(message), style="yellow"), soft_wrap=True)


def printable(text: str, keep: str = "") -> str:
    """The text without anything that a terminal would obey: ids and texts come from strangers."""
    return "".join(
        char if char.isprintable() or char in keep else char.encode("unicode_escape").decode() for char in text
    )


def read_settings(**given: object) -> Settings:
    """The settings from environment and file, with the options that are not None on top. Raises CommandError."""
    from pydantic import ValidationError  # noqa: PLC0415 - not needed for --help

    from streams.settings import Settings  # noqa: PLC0415 - not needed for --help

    options: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    try:
        return Settings(**options)
    except ValidationError as error:
        # the refused values are not repeated: one of them may be a password
        wrong = [f"{setting_name(part['loc'])}: {_in_words(part)}" for part in error.errors(include_input=False)]
        raise CommandError(f"the settings cannot be used: {'; '.join(wrong)}") from error
    except (OSError, ValueError) as error:  # a missing file; not TOML (tomllib raises a ValueError)
        raise CommandError(f"the settings cannot be read: {error}") from error


def setting_name(location: tuple[int | str, ...]) -> str:
    """A setting as its environment variable is named."""
    return "SEGMENTS_" + ".".join(map(str, location)).upper()


def _in_words(part: Any) -> str:
    if part["type"] == "extra_forbidden":
        return "there is no such setting (`segments settings` lists all)"
    message = str(part["msg"])
    return message[:1].lower() + message[1:]


def connection(settings: Settings) -> dict[str, str | int | float | bool]:
    """librdkafka's settings for a command: its own log lines are left out, for errors are told in words."""
    return settings.librdkafka() | {"log_level": 2}


@contextmanager
def kafka_at(settings: Settings, patience: float = 3.0) -> Iterator[None]:
    """Within it a Kafka answers at the settings' address, or did when it was entered.

    Raises CommandError when none does within ``patience`` seconds: with the address, the reason and what to do.
    """
    from confluent_kafka import KafkaException  # noqa: PLC0415 - not needed for --help
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415 - not needed for --help

    reasons: list[str] = []
    conf: dict[str, Any] = {**connection(settings), "error_cb": lambda error: reasons.append(error.str())}
    admin = AdminClient(conf)
    try:
        admin.list_topics(timeout=patience)
    except KafkaException as error:
        admin.poll(0)  # serves error_cb, which knows more than the time-out
        why = reasons[0] if reasons else explain(error)
        raise CommandError(
            f"no Kafka answers at {settings.bootstrap} ({why}); `segments broker` starts one on this machine"
        ) from error
    yield


@contextmanager
def until_signal() -> Iterator[Callable[[], bool]]:
    """Within it SIGINT and SIGTERM only make the yielded function true; a second SIGINT interrupts at once."""
    stopped = False

    def note(_signal: int, _frame: object) -> None:
        nonlocal stopped
        if stopped:
            raise KeyboardInterrupt
        stopped = True

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Within it SIGTERM does what Ctrl-C does: raises KeyboardInterrupt, so that ``finally`` blocks clean up."""

    def interrupt(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
