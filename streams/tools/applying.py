"""Segment definitions on their topic: making a file the next version, and showing the versions there are."""

from __future__ import annotations

import getpass
import socket
import time
from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from streams.kafka.definitions import publish, read_ledger
from streams.ops.view import moment
from streams.settings import Settings
from streams.steps.expiry import too_long
from streams.steps.segments import DefinitionError, Plan, make_plan
from streams.steps.versions import Ledger, difference
from streams.tools.terminal import CommandError, print_warning, printable


def apply_definitions(
    conf: Mapping[str, str | int | float | bool],
    topic: str,
    plan: Plan,
    author: str,
    comment: str,
    *,
    empty: bool = False,
    keep_seconds: float = 0.0,
) -> str:
    """Make the plan's definitions the next version; returns what was done, in words. Raises CommandError, and
    DefinitionError where workers could not use it beside what they still count of earlier ones.

    ``empty``: a set without any segment is meant. ``keep_seconds``: how long workers count what is no longer asked for.
    """
    author, comment = _readable(author), _readable(comment)
    ledger = read_ledger(conf, topic)
    newest = ledger.newest
    before = None
    if newest is not None:
        try:
            before = newest.plan()
        except DefinitionError:  # of a later release: whatever it says, this is something else
            before = None
        if before is not None and before.fingerprint == plan.fingerprint:
            return f"the definitions are those of {newest} already; nothing was published"
    if newest is not None and not plan.segments and not empty:
        raise CommandError("the file defines no segment, so every membership would end; say --empty if that is meant")
    _check_beside(ledger, plan, keep_seconds)
    after = newest.number if newest is not None else 0
    ledger = publish(conf, topic, plan, after, author, comment)
    mine = next((version for version in ledger.versions if version.number == after + 1), None)
    if mine is None or mine.author != author or mine.plan().fingerprint != plan.fingerprint:
        raise CommandError(
            f"somebody else published {mine or 'another version'} at the same time; look at it with "
            "`segments definitions`, and apply the file again"
        )
    if before is None:
        return f"version {mine.number}: {len(plan.segments)} segments"
    return f"version {mine.number}: {difference(before.definitions, plan.definitions)}"


def _check_beside(ledger: Ledger, plan: Plan, keep_seconds: float) -> None:
    """Workers count what was asked for until now for some time yet. Raises DefinitionError."""
    if ledger.newest is not None and keep_seconds > 0:
        kept, _ = ledger.kept(time.time(), keep_seconds)
        make_plan(plan.definitions, [*plan.groups.values()], "the definitions", kept | ledger.newest.asks())


def warn_of_forgetting(plan: Plan, settings: Settings) -> None:
    """Where rules look back longer than states are kept, by the settings that this command has."""
    if doubt := too_long(plan, *settings.ttls):
        print_warning(doubt)


def _readable(text: str) -> str:
    """What a terminal typed that is no UTF-8 becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def default_author() -> str:
    """Who publishes, unless it is said."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):  # a user without a name, as in a container
        return socket.gethostname()


def versions_table(ledger: Ledger) -> Table:
    """Newest first."""
    table = Table("version", "published", "author", "segments", "comment", box=None, header_style="dim")
    for version in reversed(ledger.versions):
        try:
            count = str(len(version.plan().segments))
        except DefinitionError:
            count = "not readable by this release"
        newest = version is ledger.newest
        table.add_row(
            Text(f"{version.number} in force" if newest else str(version.number), style="green" if newest else ""),
            f"{moment(version.time)} UTC",
            printable(version.author),
            count,
            printable(version.comment),
        )
    return table
