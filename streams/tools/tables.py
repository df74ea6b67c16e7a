"""Definitions and settings as tables for people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pydantic import SecretStr
from pydantic_core import PydanticUndefined
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.ops.view import number, span
from streams.settings import Settings
from streams.steps.segments import Plan
from streams.tools.logs import MASK
from streams.tools.terminal import printable, setting_name

#: settings whose default is another for each machine → what it is
_MADE: Final = {"worker_name": "(the host's name)", "cache_mb": "(by this machine's memory)"}


def plan_table(plan: Plan) -> RenderableType:
    """Every segment with its kind, rule or words, thresholds; then the groups of learned segments."""
    table = Table("segment", "kind", "rule, words or group", "enter", "exit", "stays", "version", box=None)
    for segment in plan.segments.values():
        table.add_row(
            Text(printable(segment.id), style="cyan"),
            segment.kind,
            Text(printable(segment.text)),
            number(segment.enter) if segment.kind != "rule" else "",
            number(segment.exit) if segment.kind != "rule" else "",
            span(segment.min_stay) if segment.min_stay else "",
            str(segment.version),
        )
    if not plan.groups:
        return table
    groups = Table("group", "head", "exclusive", "decides after", box=None)
    for group in plan.groups.values():
        exclusive = "yes" if group.exclusive else "no"
        groups.add_row(Text(printable(group.id), style="cyan"), group.head, exclusive, f"{group.min_labels} labels")
    return Group(table, "", groups)


def settings_lines(settings: Settings) -> Iterator[Text]:
    """Two lines for each setting: variable, present value and default; then what it is for. Secrets are masked."""
    for name, field in type(settings).model_fields.items():
        if field.default is not PydanticUndefined:
            default = _shown(field.default)
        else:
            default = _MADE.get(name, "(made at start)")
        value = masked(settings, name)
        line = Text(setting_name((name,)), style="cyan").append(" = ", style="dim")
        line.append(printable(value), style="" if value == default else "bold yellow")
        yield line.append(f"  (default: {default})", style="dim")
        yield Text(f"    {field.description or ''}")


def masked(settings: Settings, name: str) -> str:
    """The present value of a setting for people; a secret that is set becomes ``***``."""
    return _shown(getattr(settings, name))


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else "(none)"
    return "(none)" if value in (None, "") else str(value)
