"""What a partition does beside its turns, in pieces: checks after changed definitions, what expires."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from state.windows import NEVER
from streams.kafka.share import FairShare
from streams.kafka.work import Work
from streams.kafka.writer import PartitionWriter

#: users checked in one turn after the definitions changed, at most
SWEEP_USERS = 500
#: seconds between two looks for expired guards of erased users; an idle partition then writes its position anew
GUARDS_INTERVAL = 3_600.0
#: seconds between two looks through all users for those whose state has expired
IDLE_INTERVAL = 6 * 3_600.0
#: the same from the start to the first look
IDLE_FIRST = 600.0

T = TypeVar("T")


class _Read(Protocol):
    def __call__(self, look: Callable[[PartitionWriter], T]) -> Awaitable[T]: ...


class Background:
    """Of one partition. ``read`` looks at committed state between two turns."""

    def __init__(self, writer: PartitionWriter, read: _Read) -> None:
        self._writer = writer
        self._read = read
        self._share = FairShare(SWEEP_USERS)
        self._swept, self._swept_epoch = "", 0
        self._guards_seen = b""
        self._guards_at = time.monotonic()
        self._idle_at = self._guards_at - IDLE_INTERVAL + IDLE_FIRST
        self._idle_seen = ""
        place = writer.place
        self._expires = place.wall_clock and min(place.state_ttl, place.anonymous_ttl) != NEVER

    async def next(self, now: float, idle: bool) -> Work:
        """The next piece: all the time when nothing else is to do (``idle``), and a fair share of it else."""
        if self._share.due(now, idle):
            # not before it is known what is over by now: that is not to be entered
            if self._writer.definitions_changed and self._writer.timer_clock() > 0.0:
                return await self._next_sweep()
            if now - self._guards_at >= GUARDS_INTERVAL:
                return await self._next_guards(now)
            if self._expires and now - self._idle_at >= IDLE_INTERVAL:
                return await self._next_idle(now)
        return Work()

    def took(self, began: float, ended: float, work: Work) -> None:
        """A piece is committed."""
        self._share.took(ended - began, ended, len(work.sweep or work.idle or work.guards))

    async def _next_sweep(self) -> Work:
        """The next users to check against changed definitions; from the first one on when they change meanwhile."""
        if self._swept_epoch != (epoch := self._writer.meta.epoch):
            self._swept, self._swept_epoch = "", epoch
        users = await self._read(lambda writer: writer.some_users(self._swept, self._share.size))
        self._swept = users[-1] if users else ""
        return Work(sweep=users, epoch=epoch)

    async def _next_guards(self, now: float) -> Work:
        """Some guards of erased users, to see whether they expired; all of them once in an interval."""
        keys = []
        if self._writer.meta.guards:
            keys = await self._read(lambda writer: writer.guards(self._guards_seen, self._share.size))
        self._guards_seen = keys[-1] if keys else b""
        if not keys:
            self._guards_at = now
        return Work(guards=keys, complete=not keys)

    async def _next_idle(self, now: float) -> Work:
        """Those of some users whose state has expired: all users are looked at once in an interval."""
        began = time.monotonic()
        users, self._idle_seen = await self._read(lambda writer: writer.idle_users(self._idle_seen, self._share.size))
        if not self._idle_seen:
            self._idle_at = now
        ended = time.monotonic()
        self._share.took(ended - began, ended, SWEEP_USERS)
        return Work(idle=users)
