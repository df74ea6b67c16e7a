"""Asks a running worker over HTTP: its status, its health, and what it knows of a user."""

from __future__ import annotations

import http.client
from typing import TypeVar
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import ProxyHandler, Request, build_opener

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.ops.view import UserView, WorkerStatus, counted, label, moment, number, plain, reason_words
from streams.tools.terminal import printable

T = TypeVar("T")


class LookupFailedError(RuntimeError):
    """The worker did not answer, or answered that it cannot tell; the message says which."""


class WorkerClient:
    """A worker at ``url`` (its page). Proxies from the environment are not used: workers are on loopback or near.

    Raises ValueError when ``url`` is not http(s).
    """

    def __init__(self, url: str, timeout: float = 5.0) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise ValueError(f"{url} is not the address of a worker, such as http://127.0.0.1:6066")
        self.url = url.rstrip("/")
        self._timeout = timeout
        self._opener = build_opener(ProxyHandler({}))

    def status(self) -> WorkerStatus:
        """What the page shows. Raises LookupFailedError."""
        return self._decode("/api/status", WorkerStatus)

    def user_json(self, user: str) -> bytes:
        """The user as the worker answers. Raises LookupFailedError when there is none."""
        # a path segment of dots alone would be resolved on the way
        return self._get(f"/api/users/{quote(user, safe='').replace('.', '%2E')}")

    def unready_because(self) -> str:
        """Empty when the worker is ready, else what is missing. Raises LookupFailedError while nobody answers."""
        status, body = self._ask("/readyz")
        if status == 200:
            return ""
        return str(_object(body).get("reason", "")) or f"status {status}"

    def total(self, metric: str) -> float:
        """The sum of a counter over its labels. Raises LookupFailedError."""
        text = self._get("/metrics").decode()
        families = text_string_to_metric_families(text)
        return sum(each.value for family in families for each in family.samples if each.name == metric)

    def _decode(self, path: str, kind: type[T]) -> T:
        body = self._get(path)
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.DecodeError as error:
            raise LookupFailedError(f"{self.url}{path} is not what a worker answers: {error}") from error

    def _get(self, path: str) -> bytes:
        status, body = self._ask(path)
        if status != 200:
            why = _object(body).get("error") or f"{self.url}{path} answered with status {status}"
            raise LookupFailedError(str(why))
        return body

    def _ask(self, path: str) -> tuple[int, bytes]:
        request = Request(self.url + path)  # noqa: S310 - the scheme was checked
        try:
            with self._opener.open(request, timeout=self._timeout) as answer:
                return int(answer.status), bytes(answer.read())
        except HTTPError as error:
            with error:
                return error.code, error.read()
        except (URLError, OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise LookupFailedError(
                f"no worker answers at {self.url} ({reason}); `segments worker` starts one, --url names another"
            ) from error


def _object(body: bytes) -> dict[str, object]:
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except msgspec.DecodeError:
        return {}


def show_user(user: UserView) -> RenderableType:
    """State, memberships with reasons, counters, followees and what is pending."""
    if user.merged_into:
        return Text(printable(f"{user.user} was merged into {user.merged_into}: look there"), style="bold")
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="dim")
    facts.add_column()
    for name, value in (
        ("partition", str(user.partition)),
        ("as of", f"{moment(user.last_event_time)} UTC" if user.last_event_time is not None else "nothing yet"),
        ("texts", f"{user.texts} encoded, {user.pending_texts} pending"),
        ("follows", f"{len(user.followees)}: {', '.join(user.followees)}" if user.followees else "nobody"),
    ):
        facts.add_row(name, printable(value))
    if user.waiting_events:
        facts.add_row("to come", f"{user.waiting_events} events are ahead of the clock and count when their time comes")
    if user.aliases:
        facts.add_row("merged ids", printable(", ".join(user.aliases)))
    parts: list[RenderableType] = [Text(printable(user.user), style="bold"), facts, _memberships(user)]
    counts = (("counter (decayed)", user.counters, plain), ("window", user.windows, counted))
    for title, values, shown in counts:
        if values:
            table = _table(title, "value")
            for name, value in sorted(values.items()):
                table.add_row(printable(label(name)), printable(shown(value)))
            parts += ["", table]
    return Group(*parts)


def _memberships(user: UserView) -> RenderableType:
    if not user.memberships:
        return Text("\nin no segment", style="yellow")
    table = _table("segment", "since", "score", "why")
    for each in user.memberships:
        why = printable(reason_words(each.reason))
        table.add_row(Text(printable(each.segment), style="cyan"), moment(each.since), number(each.score), why)
    return Group("", table)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, header_style="dim", overflow="fold")
    return table
