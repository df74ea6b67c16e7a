"""One campaign, from an empty Kafka to the verifier's findings. What happens, and when, is drawn from the seed."""

from __future__ import annotations

import dataclasses
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streams.kafka.admin import create_topics
from streams.kafka.broker import EmbeddedBroker
from streams.wire.topics import Topics, TopicSpec
from tests.chaos.fleet import Fleet, Slot
from tests.chaos.load import OTHER_RULES, RULES
from tests.chaos.operators import Audit, Definitions, Staging, poison
from tests.chaos.producers import Producers
from tests.forked import ForkServer
from tests.helpers import settled
from tests.verifier import Findings, verify

APP = "chaos"
PARTITIONS = 4
SESSION = 3.0
MOST_WORKERS = 3
LANES = ("fold", "encode", "timers", "graph", "labels", "training", "refresh", "definitions")
STEPS = ("2-3", "3.produced", "3-4", "4-5")
#: where a worker may be told to die; n is drawn up to the number
CHECKPOINTS: dict[str, int] = (
    {"open.fenced": 5, "open.restoring": 4, "open.restored": 4, "open.claimed": 4, "close": 3}
    | {f"fold.{step}": 40 for step in STEPS}
    | {f"{lane}.{step}": 3 for lane in LANES[1:] for step in STEPS}
)
READY_SECONDS = 90.0
SETTLE_SECONDS = 300.0


@dataclass(frozen=True)
class Plan:
    """How much of everything; a campaign ends when the minutes and all quotas are over."""

    seed: int
    minutes: float
    kills: int = 0
    restarts: int = 0
    stops: int = 0
    wipes: int = 0
    backlogs: int = 0
    definitions: int = 0
    poisons: int = 0
    recreations: int = 0
    events: int = 0
    users: int = 5_000
    rate: float = 600.0
    """Records a second; more when ``events`` need it."""
    interval: float = 6.0
    """Seconds between two disturbances; less when the quotas need it."""
    audit: bool = False
    """An audit runs beside the workers."""


@dataclass
class Outcome:
    """What was done and what the verifier says."""

    findings: Findings
    kills: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    broker_restarts: int = 0
    stops: int = 0
    wipes: int = 0
    backlogs: int = 0
    """Times that all workers were killed and events came meanwhile."""
    definitions: int = 0
    """Versions of the definitions that were applied after the first."""
    strangers: int = 0
    """Workers that were started with another file than what is in force."""
    poisons: int = 0
    """Records with header names that are no UTF-8."""
    recreations: int = 0
    """Times that the staging installation's events were made anew."""
    audits: Counter[str] = field(default_factory=Counter)
    """How the audits beside the workers ended."""
    scale_changes: int = 0
    pauses: int = 0
    seconds: float = 0.0
    settle_seconds: float = 0.0

    def report(self, plan: Plan) -> dict[str, Any]:
        """The JSON of docs/reliability.md, without the machine."""
        found = self.findings
        return {
            "seed": plan.seed,
            "minutes": round(self.seconds / 60.0, 2),
            "events": found.events,
            "distinct_events": found.distinct_events,
            "duplicates": found.duplicates,
            "misrouted": found.misrouted,
            "users": found.users,
            "erased": found.erased,
            "changes": found.changes,
            "proved": found.proved,
            "unproved": found.unproved,
            "entries": found.entries,
            "members": found.members,
            "dead_letters": found.dead_letters,
            "kills": self.kills.total(),
            "kills_by_kind": dict(sorted(self.kills.items())),
            "broker_restarts": self.broker_restarts,
            "stops": self.stops,
            "wipes": self.wipes,
            "backlogs": self.backlogs,
            "definitions": self.definitions,
            "strangers": self.strangers,
            "poisons": self.poisons,
            "recreations": self.recreations,
            "audits": dict(self.audits),
            "scale_changes": self.scale_changes,
            "pauses": self.pauses,
            "ended_by_themselves": dict(self.ends),
            "settle_seconds": round(self.settle_seconds, 1),
            "differences": found.differences,
        }


class Campaign:
    """Runs once. Everything that it starts ends with ``run``."""

    def __init__(self, plan: Plan, directory: Path, note: Callable[[str], None] = lambda _what: None) -> None:
        """Kafka's data, local states and logs go to ``directory``; ``note`` is told what happens."""
        self._plan = plan
        self._directory = directory
        self._draw = random.Random(plan.seed)
        self._log = (directory / "campaign.log").open("w")
        self._note_to = note
        self._began = time.monotonic()
        self._outcome = Outcome(Findings())
        self._deck: list[str] = []
        self._topics = Topics(APP)
        self._broker = EmbeddedBroker(directory / "kafka")
        self._definitions: Definitions
        self._staging: Staging | None = None
        self._audit: Audit | None = None

    def _file(self) -> Path:
        """The file of a worker that starts: of some, not what is in force, once the quotas have such workers."""
        files, outcome = self._definitions.files, self._outcome
        if outcome.definitions and self._draw.random() < 0.2:
            outcome.strangers += 1
            return self._draw.choice(
                [file for number, file in enumerate(files) if number != self._definitions.in_force]
            )
        return files[self._definitions.in_force]

    def _note(self, what: str) -> None:
        line = f"{time.monotonic() - self._began:7.1f} s  {what}"
        self._log.write(line + "\n")
        self._log.flush()
        self._note_to(line)

    def run(self) -> Outcome:
        """The whole campaign."""
        plan = self._plan
        with ForkServer() as server, self._broker:
            create_topics({"bootstrap.servers": self._broker.bootstrap}, _quickly_cleaned(self._topics), 1)
            settings = {
                "app": APP,
                "bootstrap": self._broker.bootstrap,
                "session_timeout": f"{SESSION:g}",
                "rocksdb_cache_mb": "64",
                "text_precision": "float32",
            }
            self._definitions = Definitions(self._directory, settings)
            fleet = Fleet(server, self._directory, settings, self._note)
            fleet.file_for = self._file
            beside = Fleet(server, self._directory, settings | {"topic_prefix": Staging.PREFIX}, self._note)
            beside.file_for = lambda: self._definitions.files[0]
            rate = max(plan.rate, 1.15 * plan.events / (60.0 * plan.minutes))
            producers = Producers(self._broker.bootstrap, self._topics, plan.seed, plan.users, 3, rate)
            if plan.recreations:
                self._staging = Staging(self._broker.bootstrap, APP, settings, beside, plan.seed)
            if plan.audit:
                self._audit = Audit(settings, self._directory)
            try:
                self._disturb(fleet, producers)
                producers.stop()
                self._note(f"{producers.sent} records sent; settling")
                if self._staging is not None:
                    self._staging.close()
                self._settle(fleet)
            finally:
                fleet.close()
                beside.close()
                if self._audit is not None:
                    self._audit.close()
                    self._outcome.audits = self._audit.ends
            verified = time.monotonic()
            others = [rule for rules in OTHER_RULES for rule in rules]
            found = verify(
                self._broker.bootstrap, APP, rules=RULES, stopped_at=self._stopped_at, earlier=others
            )  # fmt: skip
            found.differences[:0] = self._outcome.findings.differences
            self._note(f"verified in {time.monotonic() - verified:.0f} s: {len(found.differences)} differences")
        self._outcome.findings = found
        self._outcome.kills, self._outcome.ends = fleet.kills, fleet.ends
        self._outcome.seconds = time.monotonic() - self._began
        self._log.close()
        return self._outcome

    # disturbing

    def _disturb(self, fleet: Fleet, producers: Producers) -> None:
        plan, outcome = self._plan, self._outcome
        for number in range(2):
            fleet.add(f"worker-{number}")
        producers.start()
        self._wait_ready(fleet)
        if self._staging is not None:
            self._staging.start()
        if self._audit is not None:
            self._audit.start()
        until = time.monotonic() + 60.0 * plan.minutes
        wanted = plan.kills / 2 + plan.restarts * 1.5 + plan.stops * 2 + plan.wipes
        wanted += plan.backlogs * 2 + plan.definitions + plan.poisons / 2 + plan.recreations * 2
        interval = min(plan.interval, 60.0 * plan.minutes / max(1.0, wanted) * 0.8)
        while time.monotonic() < until or self._left(fleet, producers):
            due = time.monotonic() + interval * self._draw.uniform(0.5, 1.5)
            self._act(self._choose(fleet), fleet, producers)
            self._wait_ready(fleet)
            self._rest(fleet, max(1.0, due - time.monotonic()))
            if outcome.findings.differences:
                return

    def _left(self, fleet: Fleet, producers: Producers) -> bool:
        plan, outcome = self._plan, self._outcome
        return (
            fleet.kills.total() < plan.kills
            or outcome.broker_restarts < plan.restarts
            or outcome.stops < plan.stops
            or outcome.wipes < plan.wipes
            or outcome.backlogs < plan.backlogs
            or outcome.definitions < plan.definitions
            or outcome.poisons < plan.poisons
            or outcome.recreations < plan.recreations
            or producers.sent < plan.events
        )

    def _choose(self, fleet: Fleet) -> str:
        """What comes next: what the quotas still need, spread evenly; or else everything in turn, most often a kill."""
        plan, outcome = self._plan, self._outcome
        weights = {
            "kill": max(0.0, (plan.kills - fleet.kills.total()) / 2),
            "broker": max(0.0, plan.restarts - outcome.broker_restarts),
            "sleep": max(0.0, plan.stops - outcome.stops),
            "wipe": max(0.0, plan.wipes - outcome.wipes),
            "backlog": max(0.0, plan.backlogs - outcome.backlogs),
            "define": max(0.0, plan.definitions - outcome.definitions),
            "poison": max(0.0, plan.poisons - outcome.poisons),
            "recreate": max(0.0, plan.recreations - outcome.recreations),
        }
        if not any(weights.values()):
            if not self._deck:
                self._deck = [*["kill"] * 6, *["broker"] * 2, "sleep", "wipe", "scale", "pause"]
                self._draw.shuffle(self._deck)
            return self._deck.pop()
        some = sum(weights.values())
        weights |= {"scale": some / 10, "pause": some / 40}
        return self._draw.choices(list(weights), list(weights.values()))[0]

    def _act(self, what: str, fleet: Fleet, producers: Producers) -> None:
        slot = self._draw.choice(list(fleet.slots.values()))
        if what in ("kill", "wipe"):
            self._rest(fleet, self._draw.uniform(0.0, 1.0))
            # who is still on the way to a step may get there
            slot = self._draw.choice([each for each in fleet.slots.values() if not each.armed] or [slot])
            step = self._draw.choice(list(CHECKPOINTS))
            fleet.kill(slot, f"{step}:{self._draw.randint(1, CHECKPOINTS[step])}", wiped=what == "wipe")
            self._outcome.wipes += what == "wipe"
        elif what == "broker":
            self._restart_broker(fleet)
        elif what == "sleep":
            self._sleep_over(fleet, slot)
        elif what == "scale":
            self._scale(fleet)
        elif what == "backlog":
            fleet.kill_all(lambda: time.sleep(self._draw.uniform(2.0, 9.0)))  # longer than what absences wait for
            self._outcome.backlogs += 1
        elif what == "define":
            self._define(
                self._draw.choice([n for n in range(len(self._definitions.files)) if n != self._definitions.in_force])
            )
        elif what == "poison":
            self._outcome.poisons += 1
            self._note("poison")
            poison(self._broker.bootstrap, self._topics.events, f"u{self._outcome.poisons}", self._outcome.poisons)
        elif what == "recreate" and self._staging is not None:
            self._note("the staging installation's events are made anew")
            self._staging.recreate(lambda seconds: self._rest(fleet, seconds))
            self._outcome.recreations += 1
        else:
            self._note("producers pause")
            producers.pause(True)
            self._rest(fleet, self._draw.uniform(1.0, 4.0))
            producers.pause(False)
            self._outcome.pauses += 1

    def _define(self, number: int) -> None:
        self._definitions.apply(number)
        self._outcome.definitions += 1
        self._note(f"definitions {number} applied")

    def _restart_broker(self, fleet: Fleet) -> None:
        self._note("broker killed")
        self._broker.kill()
        self._rest(fleet, self._draw.uniform(0.0, 2.0))
        self._broker.start()
        self._outcome.broker_restarts += 1
        self._note("broker started")

    def _sleep_over(self, fleet: Fleet, slot: Slot) -> None:
        """SIGSTOP for longer than the session: others take over, and what wakes must write nothing."""
        fleet.pause(slot)
        self._rest(fleet, SESSION + self._draw.uniform(1.0, 3.0))
        fleet.wake(slot)
        self._outcome.stops += 1

    def _scale(self, fleet: Fleet) -> None:
        self._outcome.scale_changes += 1
        free = [name for number in range(MOST_WORKERS) if (name := f"worker-{number}") not in fleet.slots]
        if free and (len(fleet.slots) == 1 or self._draw.random() < 0.5):
            fleet.add(free[0])
        else:
            fleet.remove(self._draw.choice(list(fleet.slots)))

    # waiting

    def _rest(self, fleet: Fleet, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(0.1, left))
            fleet.tend()
            if self._staging is not None:
                self._staging.tend()
            if self._audit is not None:
                self._audit.tend()

    def _wait_ready(self, fleet: Fleet) -> None:
        """Until a worker is ready, so that there is always some work between two disturbances."""
        until = time.monotonic() + READY_SECONDS
        while not any(status["ready"] for status in fleet.statuses()):
            if time.monotonic() > until:
                self._outcome.findings.report(f"no worker was ready within {READY_SECONDS:.0f} s")
                return
            self._rest(fleet, 0.2)

    def _settle(self, fleet: Fleet) -> None:
        """Until every partition has caught up and nobody waits to be encoded; then all workers stop in order."""
        if self._definitions.in_force:
            self._define(0)
        for slot in list(fleet.slots.values()):
            if slot.armed:
                fleet.remove(slot.name)
                fleet.add(slot.name)
        began, quiet_since = time.monotonic(), 0.0
        while not quiet_since or time.monotonic() - quiet_since < 5.0:
            self._rest(fleet, 0.3)
            now = time.monotonic()
            statuses = fleet.statuses()
            quiet_since = (quiet_since or now) if settled(statuses, PARTITIONS) else 0.0
            if now - began > SETTLE_SECONDS:
                known = [{name: status[name] for name in ("state", "partitions", "encode_queue_depth")}
                         for status in statuses]  # fmt: skip
                self._outcome.findings.report(f"not settled within {SETTLE_SECONDS:.0f} s: {known}")
                break
        self._outcome.settle_seconds = time.monotonic() - began
        self._stopped_at = time.time()
        for name in list(fleet.slots):
            fleet.remove(name)


def _quickly_cleaned(topics: Topics) -> list[TopicSpec]:
    """Compacted topics are compacted while the campaign runs, not only when a segment of 1 GB is full."""
    small = {"segment.bytes": str(16 * 1024 * 1024), "min.cleanable.dirty.ratio": "0.5"}
    return [
        dataclasses.replace(spec, config=spec.config | small) if "compact" in spec.config["cleanup.policy"] else spec
        for spec in topics.specs(PARTITIONS)
    ]
