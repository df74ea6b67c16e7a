"""What the running service tells about itself: the page, the API and health ask here."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from state.record import Record
from state.unknown import not_known_before
from state.user import Membership as Held
from state.user import texts_waiting
from state.windows import SCALES, TallySpec
from streams.kafka.agents import Host
from streams.kafka.definitions import Present
from streams.kafka.follower import TopicFollower
from streams.kafka.lane import EncodeLane, PartitionGoneError
from streams.kafka.partition import Partition, State
from streams.kafka.standby import Standby
from streams.kafka.writer import PartitionWriter
from streams.ops.directory import Directory
from streams.ops.lag import PartitionLag
from streams.ops.metrics import LANES, Metrics, quantile
from streams.ops.outage import Outage
from streams.ops.view import (
    HeadStatus,
    Latency,
    Membership,
    NotHereError,
    Owner,
    PartitionStatus,
    SegmentStatus,
    UserView,
    WorkerStatus,
    moment,
    span,
)
from streams.ops.watchdog import Watchdog
from streams.steps.effects import Emitted
from streams.steps.partitioner import partition_of
from streams.steps.segments import Plan
from streams.wire.workers import PartitionReport, WorkerReport

RECENT_CHANGES = 200
#: a turn or a restore's progress that takes longer than this means that the worker is stuck (seconds)
STUCK_AFTER = 120.0
#: without an answer from Kafka for so long the worker is not ready (seconds)
SILENT_AFTER = 10.0


class Rate:
    """Events a second over the last few looks."""

    def __init__(self, span: float = 10.0) -> None:
        self._span = span
        self._looks: deque[tuple[float, float]] = deque()

    def note(self, now: float, total: float) -> float:
        self._looks.append((now, total))
        while len(self._looks) > 2 and now - self._looks[0][0] > self._span:
            self._looks.popleft()
        (then, before) = self._looks[0]
        return max(0.0, (total - before) / (now - then)) if now > then else 0.0


class Service:
    """Implements ``streams.ops.view.ServiceView`` over the parts of the worker."""

    def __init__(
        self,
        worker: str,
        present: Present,
        partitions: int,
        host: Host,
        lane: EncodeLane,
        metrics: Metrics,
        heads: TopicFollower,
        definitions: TopicFollower,
        standby: Standby | None = None,
        outage: Outage | None = None,
        directory: Directory | None = None,
    ) -> None:
        self._worker = worker
        self._present = present
        self._count = partitions
        self._host = host
        self._lane = lane
        self._metrics = metrics
        self._heads, self._definitions = heads, definitions
        self._standby = standby
        self._started_at = time.time()
        self._recent: deque[dict[str, Any]] = deque(maxlen=RECENT_CHANGES)
        self._lags: dict[int, list[PartitionLag]] = {}
        self._events_rate, self._changes_rate = Rate(), Rate()
        self._rates = (0.0, 0.0)
        self._outage = outage or Outage("", self._started_at)
        self._was_ready = False
        self._machine = socket.gethostname()
        self.directory = directory or Directory(worker, self._machine, partitions)
        self.url = ""
        """Where other workers reach this one's page."""
        self.failure: str = ""

    # noting

    def note_changes(self, changes: list[Emitted]) -> None:
        """Remember the newest changes for the page; nothing of who is erased."""
        erased = {each.change.user for each in changes if each.change.origin == "erasure"}
        if erased:
            changes = [each for each in changes if each.change.user not in erased]
            self._recent = deque((old for old in self._recent if old["user"] not in erased), maxlen=RECENT_CHANGES)
        for emitted in changes[-RECENT_CHANGES:]:
            self._recent.appendleft(msgspec.to_builtins(emitted.change))

    def note_lags(self, lags: list[PartitionLag]) -> None:
        """The lag monitor looked; gauges that are taken from state follow."""
        by_partition: dict[int, list[PartitionLag]] = {}
        for lag in lags:
            by_partition.setdefault(lag.partition, []).append(lag)
        self._lags = by_partition
        since = self._outage.since
        self._metrics.kafka_silent.set(time.time() - since if since else 0.0)
        self._was_ready |= self.ready()[0]
        now = time.monotonic()
        events = float(sum(each.writer.meta.events for each in self._running()))
        changes = float(sum(each.writer.meta.changes for each in self._running()))
        self._rates = self._events_rate.note(now, events), self._changes_rate.note(now, changes)
        for segment, users in self._members().items():
            self._metrics.segment_users.labels(segment=segment).set(users)
        self._metrics.restoring_partitions.set(
            sum(each.state is State.RESTORING for each in self._host.partitions.values())
        )
        self._metrics.users_cached.set(sum(each.writer.cached for each in self._host.partitions.values()))
        self._metrics.encode_queue_age.set(self._lane.age)

    def stuck(self, watchdog: Watchdog, lags: list[PartitionLag], now: float) -> str | None:
        """What stands still, and what it is about, in words; None when all moves. ``now``: a monotonic clock."""
        partitions = self._host.partitions
        found = watchdog.look(
            [lag for lag in lags if lag.partition in partitions],
            {number: each.attempts.steps for number, each in partitions.items()},
            {number: each.restored for number, each in partitions.items() if each.state is State.RESTORING},
            now,
        )
        if found is None:
            return None
        partition = partitions[found.partition]
        doing = f"its turn takes {partition.busy_seconds:.0f} s" if partition.busy_seconds else "no turn is under way"
        held = ", fetching is held" if partition.held else ""
        return f"{found}; {doing}, {partition.queued} records are queued{held}"

    def report(self) -> WorkerReport:
        """What this worker tells the others."""
        return WorkerReport(
            worker=self._worker, url=self.url, host=self._machine, started_at=self._started_at,
            generation=self._host.generation,
            partitions=[self._report(each) for each in self._host.partitions.values()],
        )  # fmt: skip

    def _report(self, partition: Partition) -> PartitionReport:
        if partition.state is not State.RUNNING:
            return PartitionReport(partition=partition.number)
        meta = partition.writer.meta
        return PartitionReport(
            partition=partition.number, known=True, users=meta.users, events=meta.events, changes=meta.changes,
            members=meta.members, refused=meta.refused,
        )  # fmt: skip

    def positions(self) -> dict[tuple[str, int], int]:
        """Next offsets to be processed, of the partitions that run."""
        found: dict[tuple[str, int], int] = {}
        for partition in self._running():
            writer = partition.writer
            for topic in writer.place.topics.sources:
                found[topic, partition.number] = writer.meta.positions.get(topic, 0)
        return found

    # the view

    def status(self) -> WorkerStatus:
        ready, _ = self.ready()
        partitions = [self._partition(number) for number in sorted(self._host.partitions)]
        members = self._members()
        now = time.time()
        self.directory.note(self.report(), now)
        together = self.directory.together(now)
        events = sum(each.writer.meta.events for each in self._running())
        changes = sum(each.writer.meta.changes for each in self._running())
        return WorkerStatus(
            worker=self._worker,
            state=self._state(ready),
            ready=ready,
            kafka_silent_since=self._outage.since,
            started_at=self._started_at,
            definitions=self._present.now.version,
            definitions_note=self._present.trouble or self._present.note,
            partitions=partitions,
            events_total=events,
            events_per_second=self._rates[0],
            changes_total=changes,
            changes_per_second=self._rates[1],
            dead_letters=together.refused,
            segments=[
                SegmentStatus(
                    id=segment.id, kind=segment.kind, text=segment.text,
                    users=together.members.get(segment.id, 0), here=members.get(segment.id, 0),
                    version=segment.version, enter=segment.enter, exit=segment.exit,
                )
                for segment in self._present.now.plan.segments.values()
            ],
            latency={lane: self._latency(lane) for lane in LANES},
            standby=self._standby.lags if self._standby else {},
            encode_queue_depth=self._lane.depth,
            encode_queue_age=self._lane.age,
            heads=[
                HeadStatus(group=group, version=head.version, seen=head.seen, accuracy=head.metrics().get("accuracy"))
                for group, head in sorted(self._present.now.models.heads.items())
            ],
            recent_changes=list(self._recent),
            all_workers=together,
        )  # fmt: skip

    async def user(self, user_id: str) -> UserView | None:
        number = partition_of(user_id, self._count)
        partition = self._host.partitions.get(number)
        if partition is None:
            raise NotHereError(f"partition {number}, which has this user, is with another worker")
        history = [change for change in self._recent if change["user"] == user_id]
        try:
            return await partition.read(lambda writer: describe(writer, self._present.now.plan, user_id, history))
        except PartitionGoneError:
            raise NotHereError(f"partition {number}, which has this user, is being restored or moves") from None

    def live(self) -> bool:
        if self.failure or not (self._heads.alive and self._definitions.alive):
            return False
        return all(each.busy_seconds < STUCK_AFTER for each in self._host.partitions.values())

    def started(self) -> bool:
        return self._heads.ready

    def ready(self) -> tuple[bool, str]:
        if self.failure:
            return False, self.failure
        if not self._heads.ready:
            return False, "the learned heads are being read"
        since = self._outage.since
        if since and time.time() - since > SILENT_AFTER:
            return False, f"Kafka does not answer since {moment(since)} UTC"
        partitions = self._host.partitions.values()
        if trouble := self._present.trouble:
            return False, trouble
        if not partitions:
            return False, "no partition is assigned"
        if restoring := [each.number for each in partitions if each.state is State.RESTORING]:
            return False, f"partitions {', '.join(map(str, sorted(restoring)))} are being restored"
        if failing := [each.attempts.failing for each in partitions if each.attempts.failing]:
            return False, failing[0]
        return True, "ready"

    def owner(self, user_id: str) -> Owner:
        number = partition_of(user_id, self._count)
        if number in self._host.partitions:
            return Owner(partition=number, here=True)
        return self.directory.owner(number, time.time())

    # parts

    def _running(self) -> list[Any]:
        return [each for each in self._host.partitions.values() if each.state is State.RUNNING]

    def _members(self) -> dict[str, int]:
        members = dict.fromkeys(self._present.now.plan.segments, 0)
        for partition in self._running():
            for segment, users in partition.writer.meta.members.items():
                members[segment] = members.get(segment, 0) + users
        return members

    def _state(self, ready: bool) -> str:
        if self.failure:
            return self.failure
        if self._outage.since:
            return "waits for Kafka"
        return "running" if ready else "not ready" if self._was_ready else "starting"

    def _partition(self, number: int) -> PartitionStatus:
        partition = self._host.partitions[number]
        meta = partition.writer.meta
        lags = self._lags.get(number, [])
        return PartitionStatus(
            partition=number,
            state=str(partition.state),
            restored=partition.restored,
            position=meta.positions.get(partition.writer.place.topics.events, 0),
            users=meta.users,
            lost=meta.lost,
            lag_records=sum(lag.records for lag in lags) if lags else None,
            lag_seconds=max(lag.seconds for lag in lags) if lags else None,
            lag_as_of=min((lag.as_of for lag in lags), default=0.0),
        )

    def _latency(self, lane: str) -> Latency:
        histogram = self._metrics.event_to_change
        p50, p99 = (quantile(histogram, {"lane": lane}, q) for q in (0.5, 0.99))
        return Latency(p50=p50, p99=p99)


def describe(writer: PartitionWriter, plan: Plan, user_id: str, history: list[dict[str, Any]]) -> UserView | None:
    """One user from the committed state."""
    state = writer.state_of(user_id)
    waiting = writer.waiting_of(user_id)
    if state is None:
        alias = writer.alias_of(user_id)
        if alias is None and not waiting:
            return None
        into = alias.into if alias else ""
        return UserView(user=user_id, partition=writer.place.partition, merged_into=into, waiting_events=waiting)
    now, cells = max(state.time, writer.timer_clock()), state.cells
    counters = {key.lstrip("$"): round(value, 2) for key, value in state.slow_counters(now).items()}
    windows = {
        window_name(spec, spec.key in plan.asked): window_value(state, spec)
        for spec in plan.tallies.specs.values()
        if spec.key in cells
    }
    entered = [change for change in reversed(history) if change["change"] == "entered"]
    reasons = {each["segment"]: each["reason"] for each in entered if plan.still(each["segment"], each["reason"])}
    return UserView(
        user=user_id,
        partition=writer.place.partition,
        aliases=list(state.aliases),
        memberships=[
            Membership(
                segment=segment, since=member.since, score=member.score,
                reason=reasons.get(segment) or why_now(plan, state, segment, member), sequence=member.sequence,
            )
            for segment, member in state.members.items()
        ],
        counters=counters,
        windows=windows,
        followees=state.edges.present(),
        texts=state.texts,
        pending_texts=texts_waiting(state),
        waiting_events=waiting,
        last_event_time=state.time or None,
        history=history,
    )  # fmt: skip


def window_value(state: Record, spec: TallySpec) -> float | str:
    """What was counted; in words where not all was."""
    value = state.cells.total(spec, state.time) / SCALES[spec.measure]
    until = not_known_before(state.cells, spec, state.time)
    if not until:
        return value
    return f"at least {value:g}, not known yet before {moment(until)} UTC"


def window_name(spec: TallySpec, asked: bool) -> str:
    """``purchase amount within 30 d``, for people; marked where no rule asks for it any more."""
    category, kept = f" in {spec.category}" if spec.category else "", "" if asked else " (in no rule now)"
    return f"{spec.kind} {spec.measure}{category} within {span(spec.window)}{kept}"


def why_now(plan: Plan, state: Record, segment_id: str, member: Held) -> dict[str, Any]:
    """The present evidence for a membership whose change is not among the recent ones."""
    segment = plan.segments.get(segment_id)
    if segment is None:
        return {"summary": "the segment is not defined any more; the membership ends with the user's next event"}
    if segment.rule is not None:
        values = segment.rule.values(state.cells, state.time)
        told = segment.rule.told(state.cells, state.time)
        return {"summary": f"the rule holds: {told}", "rule": segment.text, "values": values}
    if segment.kind == "words":
        return {"summary": f"at entry, texts were {member.score:.2f} like the description", "words": segment.text}
    return {"summary": f"at entry, the head of {segment.group} gave {member.score:.2f}"}


async def watch_lag(
    service: Service,
    observe: Callable[[], list[PartitionLag]],
    interval: float,
    watchdog: Watchdog,
    on_stuck: Callable[[str], None],
) -> None:
    """Look at the broker's end offsets on a timer, in a thread; ``on_stuck`` is told when a partition stands still."""
    loop = asyncio.get_running_loop()
    while True:
        lags = await loop.run_in_executor(None, observe)
        service.note_lags(lags)
        if (stuck := service.stuck(watchdog, lags, time.monotonic())) is not None:
            on_stuck(stuck)
        await asyncio.sleep(interval)
