"""Going on with a source topic that was made anew or lost its end: positions are rewritten while nothing runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from msgspec.structs import replace

from state import layout
from streams.kafka.admin import offsets
from streams.kafka.claiming import fence, fence_all
from streams.kafka.installation import InstallationError, describe, refuse_running
from streams.kafka.output import Output
from streams.kafka.positions import read_positions
from streams.kafka.transactions import Transactions, own_id
from streams.settings import Settings
from streams.steps import installation as steps
from streams.steps.effects import Effects, Place
from streams.steps.installation import Present
from streams.wire.topics import Topics

#: where to go on
At = Literal["start", "end"]


@dataclass(frozen=True)
class Accepted:
    """A partition goes on elsewhere."""

    partition: int
    before: int
    after: int


def accept_topic(
    settings: Settings, topic: str, at: At | None, make_place: Callable[[int, int], Place]
) -> list[Accepted]:
    """Let each partition whose records tell of another topic, or of more than there is, go on at the start or end.

    In one transaction for each partition, so it can be called again after a crash. ``at``: None takes the start of a
    topic that was made anew. Raises InstallationError, AdminError, RestoreError, FencedError, AbortedError.
    """
    topics = Topics(settings.app, settings.topic_prefix)
    if topic not in topics.sources:
        raise InstallationError(f"{topic} is none of the topics that are read: {', '.join(topics.sources)}")
    conf = settings.librdkafka()
    refuse_running(conf, settings.installation)
    present = describe(conf, topics)
    partitions = present.counts[topics.changelog]
    for meta in read_positions(conf, topics.changelog, partitions).values():
        _refuse_other_differences(meta, present)
    # whoever still writes is fenced before the positions are read for good
    places = [make_place(number, partitions) for number in range(partitions)]
    producers = [Transactions(settings, own_id(place)) for place in places]
    fence_all(conf, topics.changelog, partitions, settings.transaction_timeout_ms / 1e3, partial(fence, conf))
    metas = read_positions(conf, topics.changelog, partitions)
    ends = offsets(conf, [(topic, number) for number in metas], "end")
    done = []
    for number, meta in sorted(metas.items()):
        before = meta.positions.get(topic, 0)
        after = new_position(meta, topic, present.ids[topic], ends[topic, number], at)
        if after is not None:
            meta.positions[topic] = after
            if meta.installation is not None:
                meta.installation.topics[topic] = present.ids[topic]
            effects = Effects(puts={layout.POSITION_KEY: layout.encode_meta(meta)})
            producers[number].write(Output(settings, places[number]), effects)
            done.append(Accepted(number, before, after))
    return done


def _refuse_other_differences(meta: layout.Meta, present: Present) -> None:
    """Other topics that were made anew as well are none: of two, one has to be accepted first."""
    if meta.installation is not None and (sentence := steps.mismatch(replace(meta.installation, topics={}), present)):
        raise InstallationError(sentence)


def new_position(meta: layout.Meta, topic: str, identity: str, end: int, at: At | None) -> int | None:
    """Where a partition goes on; None: where it is."""
    known = meta.installation.topics.get(topic, "") if meta.installation is not None else ""
    anew = bool(known and identity and known != identity)
    if not anew and meta.positions.get(topic, 0) <= end:
        return None
    if at is None and not anew:
        raise InstallationError(
            f"{topic} lost its end, but is the same topic: say with --at whether to go on at its start (what is there "
            "is counted again, unless its id is remembered) or at its end (what came since is passed over)"
        )
    return end if at == "end" else 0
