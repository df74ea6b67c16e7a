"""The three questions an orchestrator asks, answered from the service itself.

* ``/livez``: would a restart help? 503 only then. A worker that restores, or has lost the broker, is alive.
* ``/startupz``: is start-up over? Until then the other two must not be judged.
* ``/readyz``: does it do its work: partitions assigned and restored, models loaded? The reason says what is missing.
"""

from __future__ import annotations

import msgspec

from streams.ops.view import ServiceView


class Health(msgspec.Struct, frozen=True):
    """An answer: ``status`` is ``ok`` or ``unavailable``, ``reason`` is in words (empty when ok)."""

    status: str
    reason: str = ""

    @property
    def http_status(self) -> int:
        return 200 if self.status == "ok" else 503


def _answer(good: bool, reason: str) -> Health:
    return Health("ok") if good else Health("unavailable", reason or "no reason given")


def livez(view: ServiceView) -> Health:
    """Alive unless only a restart helps."""
    return _answer(view.live(), "the worker is stuck; restart it")


def startupz(view: ServiceView) -> Health:
    """Whether start-up is over."""
    return _answer(view.started(), "still starting")


def readyz(view: ServiceView) -> Health:
    """Whether the worker does its work; a worker that is not alive or not started is not ready either."""
    for earlier in (livez(view), startupz(view)):
        if earlier.status != "ok":
            return earlier
    good, reason = view.ready()
    return _answer(good, reason)
