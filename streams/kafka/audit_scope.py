"""Where an audit writes: beside the installation that it audits, whose topics and workers it leaves alone."""

from __future__ import annotations

from streams.kafka.admin import AdminError, create_topics, describe_topics
from streams.kafka.installation import InstallationError, members
from streams.settings import Settings
from streams.wire.topics import Topics

AUDIT_SCOPE = "audit"


def audit_scope(settings: Settings, scope: str | None) -> tuple[Settings, Topics]:
    """The settings and topics of an audit: those of ``scope``, which are made as needed; None: the installation's own.

    A scope reads events, labels and definitions of the installation. All else has the scope in its name: transactional
    ids, local state, internal and output topics. Raises AdminError; InstallationError when ``scope`` is None and
    workers of the installation run.
    """
    conf = settings.librdkafka()
    if scope is None:
        if found := members(conf, settings.installation):
            raise InstallationError(
                f"workers of this installation run ({', '.join(found)}): stop them, or audit in a scope of its own"
            )
        return settings, Topics(settings.app, settings.topic_prefix)
    topics = Topics(settings.app, f"{settings.topic_prefix}{scope}-", inputs=settings.topic_prefix)
    events = describe_topics(conf, [topics.events]).get(topics.events)
    if events is None:
        raise AdminError(f"no such topic: {topics.events} (create all with `segments topics`)")
    inputs = {topics.events, topics.labels, topics.definitions}
    specs = [spec for spec in topics.specs(events.partitions, settings.retention_days) if spec.name not in inputs]
    create_topics(conf, specs, events.replication)
    return settings.model_copy(update={"topic_prefix": topics.prefix}), topics
