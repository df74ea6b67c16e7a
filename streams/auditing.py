"""The deterministic mode over a whole installation: ``segments audit``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from state.layout import Meta
from state.store import SharedMemory
from streams.app import make_place
from streams.kafka.audit import Audit, DefinitionsCell
from streams.kafka.audit_scope import AUDIT_SCOPE, audit_scope
from streams.kafka.definitions import plan_to_audit
from streams.kafka.installation import Identity
from streams.kafka.text_precision import Log, as_recorded
from streams.kafka.writer import PartitionWriter
from streams.loading import load_models
from streams.settings import Settings
from streams.steps.in_force import InForce


@dataclass(frozen=True)
class Audited:
    """What the deterministic mode went through."""

    events: int
    duplicates: int
    changes: int
    users: int
    members: dict[str, int]
    topic: str
    """Of the changes."""


def run_audit(
    settings: Settings,
    batch_offsets: int,
    progress: Callable[[int], None] = lambda _count: None,
    scope: str | None = AUDIT_SCOPE,
) -> Audited:
    """Work all partitions off, one after the other, deterministically, up to the present ends.

    ``scope`` names the topics and the state that it writes, beside an installation that goes on undisturbed; None:
    those of the installation itself. Raises DefinitionError, AdminError; InstallationError when workers of the
    installation run and ``scope`` is None, or when what is in the scope was made from other topics.
    """
    settings, topics = audit_scope(settings, scope)
    identity = Identity(settings.librdkafka(), topics)
    partitions = identity.check()
    version, plan = plan_to_audit(settings.librdkafka(), topics.definitions, settings)
    precision = as_recorded(Log.of(settings, topics), settings.text_precision)
    cell = DefinitionsCell(InForce(version, plan, load_models(settings, plan, precision)))
    memory = SharedMemory(settings.rocksdb_cache_mb)
    metas: dict[int, Meta] = {}
    sent_on = True
    while sent_on:  # what a partition sends to an earlier one waits there for the next round
        sent_on = False
        for number in range(partitions):
            place = make_place(settings, number, partitions, topics)
            writer = PartitionWriter(settings, lambda: cell.now, place, memory, identity=identity)
            audit = Audit(settings, writer, cell, batch_offsets)
            audit.run(progress)
            sent_on |= audit.sent_on
            metas[number] = writer.meta
    members: Counter[str] = Counter()
    for meta in metas.values():
        members.update(meta.members)
    return Audited(
        events=sum(meta.events for meta in metas.values()),
        duplicates=sum(meta.duplicates for meta in metas.values()),
        changes=sum(meta.changes for meta in metas.values()),
        users=sum(meta.users for meta in metas.values()),
        members=dict(members),
        topic=topics.changes,
    )
