"""How a partition is opened: it is claimed, and its store is opened and brought up to the changelog's end."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from state.layout import POSITION_KEY, FormatError, Meta
from state.store import SharedMemory, Store, wipe
from state.store_errors import StoreDamagedError
from streams.kafka.changelog import StaleStoreError, restore
from streams.kafka.claiming import Claiming
from streams.settings import Settings
from streams.steps.effects import Place

log = logging.getLogger(__name__)


@dataclass
class Opening:
    """Of one partition. ``standby`` hands over its open store, if it was followed so far; ``changelog`` is the id of
    that topic; ``checkpoint`` is called with ``open.fenced``, ``open.restoring`` after each chunk, ``open.restored``,
    ``open.claimed`` (which the store does not have yet)."""

    settings: Settings
    place: Place
    memory: SharedMemory
    clock: Callable[[], float]
    checkpoint: Callable[[str], None]
    standby: Callable[[int], Store | None]
    changelog: str
    _claiming: Claiming | None = None

    def open(
        self,
        claim: Callable[[Callable[[], bool]], Claiming | None],
        progress: Callable[[int], None],
        stopping: Callable[[], bool],
        begin: Callable[[Store], None],
    ) -> int:
        """Returns the number of changelog records read; ``begin`` is called with the store that has them all, when
        nobody else can write any more. ``claim`` begins with that, unless it is stopped; None: nobody is kept apart.

        A damaged or foreign local store is wiped and restored from the changelog alone.
        """
        self._claiming = claim(stopping)
        self.checkpoint("open.fenced")
        opened = partial(self._open, progress, stopping, begin)
        try:
            return opened()
        except (StaleStoreError, StoreDamagedError, FormatError) as error:
            log.warning("%s; restoring the partition from its changelog alone", error)
            wipe(self.settings.state_dir / str(self.place.partition))
            if self._claiming is not None:
                self._claiming.begin_again()
            return opened()

    def claim(self, meta: Meta, store: Store) -> bool:
        """The last step: ``meta`` is written with the name of the writer, who may write from now on. False: nobody is
        kept apart, and nothing was written."""
        claiming, self._claiming = self._claiming, None
        if claiming is None:
            return False
        value, offset = claiming.write(meta)
        self.checkpoint("open.claimed")
        store.write([(POSITION_KEY, value)], offset, complete_at=self.clock())
        return True

    def _open(
        self, progress: Callable[[int], None], stopping: Callable[[], bool], begin: Callable[[Store], None]
    ) -> int:
        path = self.settings.state_dir / str(self.place.partition)
        store = self.standby(self.place.partition) or Store(path, self.memory)

        def restoring(records: int) -> None:
            progress(records)
            self.checkpoint("open.restoring")

        try:
            count = self._read(store, restoring, stopping)
            self.checkpoint("open.restored")
            begin(store)
        except BaseException:
            store.close()
            raise
        return count

    def _read(self, store: Store, restoring: Callable[[int], None], stopping: Callable[[], bool]) -> int:
        topic, partition = self.place.topics.changelog, self.place.partition
        count = reached = 0
        if self._claiming is not None:
            self._claiming.knows(store.meta.writer, stopping)
        while True:
            bounds = self._claiming.look() if self._claiming is not None else None
            if not reached or bounds is None or reached < bounds[1]:
                count += restore(
                    self.settings.librdkafka(), topic, partition, store, self.clock(), restoring, stopping,
                    self.changelog, bounds,
                )  # fmt: skip
                reached = store.changelog_offset
            if self._claiming is None or self._claiming.read(store.meta.writer, stopping):
                return count
