"""How a partition is opened: others are fenced, its store is opened and brought up to the changelog's end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from state.layout import FormatError
from state.store import SharedMemory, Store, wipe
from state.store_errors import StoreDamagedError
from streams.kafka.changelog import StaleStoreError, restore
from streams.settings import Settings
from streams.steps.effects import Place

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Opening:
    """Of one partition. ``standby`` hands over its open store, if it was followed so far; ``changelog`` is the id of
    that topic; ``checkpoint`` is called with ``open.restoring`` after each chunk, and ``open.restored``."""

    settings: Settings
    place: Place
    memory: SharedMemory
    clock: Callable[[], float]
    checkpoint: Callable[[str], None]
    standby: Callable[[int], Store | None]
    changelog: str

    def open(
        self, progress: Callable[[int], None], stopping: Callable[[], bool], begin: Callable[[Store], None]
    ) -> int:
        """Returns the number of changelog records read; ``begin`` is called with the store that has them all.

        A damaged or foreign local store is wiped and restored from the changelog alone.
        """
        try:
            return self._open(progress, stopping, begin)
        except (StaleStoreError, StoreDamagedError, FormatError) as error:
            log.warning("%s; restoring the partition from its changelog alone", error)
            wipe(self.settings.state_dir / str(self.place.partition))
            return self._open(progress, stopping, begin)

    def _open(
        self, progress: Callable[[int], None], stopping: Callable[[], bool], begin: Callable[[Store], None]
    ) -> int:
        place = self.place
        path = self.settings.state_dir / str(place.partition)
        store = self.standby(place.partition) or Store(path, self.memory)

        def restoring(records: int) -> None:
            progress(records)
            self.checkpoint("open.restoring")

        try:
            count = restore(
                self.settings.librdkafka(), place.topics.changelog, place.partition, store,
                self.clock(), restoring, stopping, self.changelog,
            )  # fmt: skip
            self.checkpoint("open.restored")
            begin(store)
        except BaseException:
            store.close()
            raise
        return count
