"""What the texts of an installation are encoded in, on the topic that all its workers read before they encode."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce

from encoders.base import Precision
from encoders.precision import Choice
from streams.kafka.definitions import ConfValue, append, read_log
from streams.kafka.installation import InstallationError, refuse_running
from streams.settings import Settings
from streams.steps import text_precision as steps
from streams.steps.text_precision import KEY, Setting, TextPrecision
from streams.wire.topics import Topics

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Log:
    """Where one installation's records are."""

    conf: Mapping[str, ConfValue]
    topic: str
    app: str

    @staticmethod
    def of(settings: Settings, topics: Topics) -> Log:
        return Log(settings.librdkafka(), topics.definitions, topics.app)

    def newest(self) -> TextPrecision | None:
        """What is recorded; None: nothing. Raises DefinitionsError."""
        values = (message.value() for message in read_log(self.conf, self.topic) if message.key() == KEY)
        start: TextPrecision | None = None
        return reduce(lambda found, value: steps.following(found, value, self.app), values, start)

    def propose(self, precision: str, author: str, why: str, after: int) -> TextPrecision:
        """As the record after number ``after``; returns what counts, which may be somebody else's.

        Raises DefinitionsError.
        """
        append(self.conf, self.topic, steps.encode(TextPrecision(self.app, after + 1, precision, author, why)),
               "what texts are encoded in")  # fmt: skip
        newest = self.newest()
        if newest is None:
            raise InstallationError(
                f"what texts are encoded in was written to {self.topic} and is not there: is the topic kept for good? "
                "(`segments topics` mends it)"
            )
        return newest


def settle(records: Log, setting: Setting, *, begun: bool, author: str, measure: Callable[[], Choice]) -> TextPrecision:
    """What this worker encodes texts in: what is recorded; the first worker of an installation records it.

    ``begun``: the installation has a state. ``measure`` takes seconds, and is asked only where nothing else says it.
    Raises InstallationError where the worker was told otherwise, DefinitionsError.
    """
    found = records.newest()
    if found is None:
        precision, why = steps.without_record(setting, begun), "set" if setting != "auto" else "as before"
        if precision is None:
            choice = measure()
            precision, why = choice.precision, choice.why
        found = records.propose(precision, author, why, 0)
    _refuse(setting, found)
    log.info("texts are encoded in %s", found)
    return found


def as_recorded(records: Log, setting: Setting) -> Precision:
    """For who works beside the workers, or after them, and records nothing, such as an audit.

    Raises InstallationError, DefinitionsError.
    """
    found = records.newest()
    if found is None:  # no worker that records it has run
        return steps.without_record(setting, begun=True) or "float32"
    _refuse(setting, found)
    return in_force(found)


def in_force(record: TextPrecision) -> Precision:
    """What to load the models with. Raises InstallationError where this release does not know it."""
    if (known := steps.precision_of(record)) is None:
        raise InstallationError(f"this release cannot encode texts in {record.precision}")
    return known


def change(settings: Settings, precision: Precision, author: str) -> tuple[TextPrecision | None, TextPrecision]:
    """Record another precision while no worker runs; gives what was recorded, and what is.

    Raises InstallationError, DefinitionsError, AdminError.
    """
    topics = Topics(settings.app, settings.topic_prefix)
    records = Log.of(settings, topics)
    refuse_running(settings.librdkafka(), settings.installation)
    before = records.newest()
    if before is not None and before.precision == precision:
        return before, before
    return before, records.propose(precision, author, "set", before.number if before else 0)


def _refuse(setting: Setting, found: TextPrecision) -> None:
    if sentence := steps.unusable(setting, found):
        raise InstallationError(sentence)


class Watch:
    """Whether what a worker began with is still what is recorded."""

    def __init__(self, mine: TextPrecision) -> None:
        self._mine = mine
        self._newest: TextPrecision | None = None

    def note(self, value: bytes | None) -> None:
        """The next record of the log, from its start; called by the follower's thread."""
        self._newest = steps.following(self._newest, value, self._mine.app)

    def changed(self) -> str | None:
        """In a sentence; None: all is as it was."""
        return steps.replaced(self._mine, self._newest)
