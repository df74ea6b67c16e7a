"""Topics of one partition that every worker follows: were one deleted or made anew, nothing else would tell of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from streams.ops.view import moment

log = logging.getLogger(__name__)

#: seconds without the topic until that is told: one that is made anew is away for a moment
AWAY_SECONDS: Final = 10.0
#: seconds between two looks
ASK_SECONDS: Final = 5.0


@dataclass
class _Topic:
    """``id``: Kafka's, as last seen; empty where the broker gives none; None: never seen."""

    consequence: Callable[[], str]
    on_problem: Callable[[str], None]
    id: str | None = None
    since: float = 0.0
    """When it was first not there; 0: it is."""
    told: bool = False


class FollowedTopics:
    """Tells once that a topic went away, that it is there again, and that it was made anew. Times are passed in."""

    def __init__(self, ask: Callable[[list[str]], Mapping[str, str | None]]) -> None:
        """``ask`` gives Kafka's ids of topics, None of one that is not there, nothing of those that it knows nothing
        of for now."""
        self._ask = ask
        self._topics: dict[str, _Topic] = {}
        self._next = 0.0

    def add(
        self, topic: str, consequence: Callable[[], str], on_problem: Callable[[str], None] = lambda _problem: None
    ) -> None:
        """``consequence``: what it means when the topic is not what it was, and what to do, in words.

        ``on_problem`` gets the sentence, or nothing when all is well again.
        """
        self._topics[topic] = _Topic(consequence, on_problem)

    def look(self, now: float) -> None:
        """Ask and compare, if it is time. ``now``: seconds since the epoch."""
        if now < self._next:
            return
        self._next = now + ASK_SECONDS
        for name, found in self._ask(list(self._topics)).items():
            self._note(name, self._topics[name], found, now)

    def _note(self, name: str, topic: _Topic, found: str | None, now: float) -> None:
        if found is None:
            topic.since = topic.since or now
            # one that was not there from the start is told of by whoever reads it
            if topic.id is not None and not topic.told and now - topic.since >= AWAY_SECONDS:
                topic.told = True
                self._tell(topic, f"the topic {name} is not there any more, since {moment(topic.since)} UTC")
            return
        before, topic.id, topic.since = topic.id, found, 0.0
        if before and found and before != found:
            topic.told = False
            self._tell(topic, f"the topic {name} was made anew while this worker ran")
        elif topic.told:
            topic.told = False
            log.warning("the topic %s is there again", name)
            topic.on_problem("")

    @staticmethod
    def _tell(topic: _Topic, what: str) -> None:
        problem = f"{what}: {topic.consequence()}"
        log.warning("%s", problem)
        topic.on_problem(problem)
