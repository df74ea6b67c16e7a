"""While Kafka is away: a few lines of our own instead of hundreds of its clients'.

``Outage`` decides, from the looks of the lag monitor, whether Kafka answers, and tells it. ``FoldClients`` keeps out
of the log what the clients say about lost connections, and whatever they say while Kafka is away and just after. What
is no outage (authorisation, an unknown topic) stays. All of it is there with the level DEBUG.
"""

from __future__ import annotations

import logging
import re

from streams.ops.view import moment

log = logging.getLogger(__name__)
#: what all clients of librdkafka log to
CLIENTS = logging.getLogger("librdkafka")
#: put on a line of our own (``extra=CLIENT_LINE``) that says nothing new while Kafka is away
CLIENT_LINE = {"of_client": True}

#: seconds between two lines that say the same
_AGAIN = 60.0
#: seconds after a lost connection, or an outage, in which clients tell of it: they join again and look for coordinators
_SETTLING = 30.0
#: of a client's line that is told with our own
_TOLD_CHARS = 200
_FAMILIES = frozenset({"librdkafka", "aiokafka", "kafka", "faust", "mode"})
_STAYS = re.compile(
    r"authori[sz]|authenti|sasl|ssl|certificate|credential|denied|unknown.?topic|unknown_topic|invalid_topic|fenced",
    re.IGNORECASE,
)
_CONNECTION = re.compile(r"connect|brokers? (are|is) down|bootstrap|resolve|transport|socket|local:", re.IGNORECASE)


class Outage:
    """Whether Kafka answers. Pure but for its lines: times (seconds since the epoch) are passed in."""

    def __init__(self, bootstrap: str, now: float) -> None:
        self._bootstrap = bootstrap
        self._answered_at = now
        self._told_at = 0.0
        self._since = 0.0

    @property
    def since(self) -> float:
        """When Kafka last answered, while it does not; 0 while it does."""
        return self._since

    def note(self, answered: bool, now: float) -> None:
        """Somebody asked Kafka something, and was answered or not. Told at once, every minute, and when it is over."""
        if answered:
            self._answered_at = now
            if self._since:
                log.warning("Kafka answers again after %.0f s", now - self._since, extra={"kafka_away": False})
                self._since = 0.0
        elif not self._since:
            self._since, self._told_at = self._answered_at, now
            self._tell("Kafka does not answer since %s UTC (%s)", moment(self._since), self._bootstrap)
        elif now - self._told_at >= _AGAIN:
            self._told_at = now
            self._tell(
                "Kafka still does not answer, since %s UTC, %.0f s (%s)",
                moment(self._since), now - self._since, self._bootstrap,
            )  # fmt: skip

    @staticmethod
    def _tell(words: str, *values: object) -> None:
        log.warning(words, *values, extra={"kafka_away": True})


class FoldClients(logging.Filter):
    """Leaves out what ``Outage`` tells better; it learns of the outage from the lines that go by."""

    def __init__(self, level: str = "INFO") -> None:
        super().__init__()
        self._all = level == "DEBUG"
        self._away = False
        self._until = 0.0
        self._last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        if (away := getattr(record, "kafka_away", None)) is not None:
            self._note(record, away)
            return True
        if self._all or not _of_client(record):
            return True
        text = f"{record.getMessage()} {record.exc_info[1]!r}" if record.exc_info else record.getMessage()
        if _STAYS.search(text):
            return True
        if not hasattr(record, "of_client") and _CONNECTION.search(text):
            # others of its kind come behind it before the next look tells that Kafka is away
            self._until = max(self._until, record.created + _SETTLING)
            self._last = text
        return record.levelno >= logging.WARNING and not self._away and record.created >= self._until

    def _note(self, record: logging.LogRecord, away: bool) -> None:
        if away and not self._away and self._last:  # what is wrong: refused, not resolved, no answer
            record.msg, record.args = f"{record.getMessage()}; its client: {self._last[:_TOLD_CHARS]}", ()
        if self._away and not away:
            self._until = record.created + _SETTLING
        self._away, self._last = away, ""


def _of_client(record: logging.LogRecord) -> bool:
    """Faust's services log under the names of our modules that extend them: ``[^-Consumer]: …``."""
    family = record.name.partition(".")[0]
    return family in _FAMILIES or hasattr(record, "of_client") or str(record.msg).startswith("[^")
