"""Warm standby: keep local stores of partitions that other workers own, so that taking one over reads only a tail.

One thread and one consumer follow the changelogs of all these partitions. Nothing fires and nothing is decided here;
the owners do not notice.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from state.layout import FormatError
from state.store import SharedMemory, Store, wipe
from state.store_errors import StoreDamagedError, StoreError
from streams.kafka.changelog import (
    CHUNK,
    RestoreError,
    RestoreStoppedError,
    StaleStoreError,
    changelog_consumer,
    gather,
    restore,
)
from streams.kafka.complete import Complete
from streams.kafka.reading import take
from streams.ops.metrics import Metrics
from streams.ops.outage import CLIENT_LINE

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.2
#: after an error, seconds until a partition is tried again
_RETRY_SECONDS = 5.0
#: seconds between two questions where a changelog ends: what is known of a store's age is as old as that
_ASK_SECONDS = 60.0
#: seconds for an answer
_ASK_TIMEOUT = 10.0
#: timers looked at in one go after a store was filled in bulk
_PURGE = 5_000


class Standby:
    """Follows partitions until they are taken over.

    ``follow`` says which; ``take`` hands a store over, to whoever owns the partition now. Both may be called by any
    thread at any time; the lock is held for no longer than one batch is written.
    """

    def __init__(
        self,
        conf: Mapping[str, str | int | float | bool],
        changelog: str,
        directory: Path,
        memory: SharedMemory,
        metrics: Metrics,
        scrub_seconds: float,
        clock: Callable[[], float] = time.time,
        identity: str = "",
    ) -> None:
        """``identity``: Kafka's id of the changelog's topic."""
        self._identity = identity
        self._conf = dict(conf)
        self._changelog = changelog
        self._directory = directory
        self._memory = memory
        self._metrics = metrics
        self._scrub_seconds = scrub_seconds
        self._clock = clock
        self._lock = threading.Condition()
        self._wanted: frozenset[int] = frozenset()
        self._stores: dict[int, Store] = {}
        self._busy: int | None = None  # the partition whose store is filled or scrubbed, outside the lock
        self._scrubbing: Store | None = None
        self._unclean: dict[int, bytes] = {}  # partition → the timer key from which stale timers are yet to be purged
        self._later: dict[int, float] = {}  # partition → when to try it again
        self._lags: dict[int, int] = {}
        self._positions: dict[int, int] = {}
        self._complete: dict[int, Complete] = {}
        self._assigned: set[int] = set()
        self._consumer: Consumer | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="standby", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread and close all stores."""
        with self._lock:
            self._stopping = True
            self._wanted = frozenset()
            if self._scrubbing is not None:
                self._scrubbing.stop_compacting()
            self._lock.notify_all()
        if self._thread.ident is not None:
            self._thread.join()
        for partition in list(self._stores):
            self._close(partition)

    def follow(self, partitions: Iterable[int], owned: frozenset[int] = frozenset()) -> None:
        """From now on these, and none else. The stores of those ``owned`` here stay open until they are taken."""
        with self._lock:
            self._wanted = frozenset(partitions)
            for partition in self._stores.keys() - self._wanted - owned:
                self._close(partition)
            for partition in self._lags.keys() - self._wanted:
                self._forget_lag(partition)
            self._lock.notify_all()

    def take(self, partition: int) -> Store | None:
        """The store of a partition, open, for a new owner; None where there is none (yet)."""
        with self._lock:
            self._wanted -= {partition}
            if self._busy == partition and self._scrubbing is not None:
                self._scrubbing.stop_compacting()
            self._lock.wait_for(lambda: self._busy != partition)
            self._unclean.pop(partition, None)
            self._forget_lag(partition)
            return self._stores.pop(partition, None)

    @property
    def lags(self) -> dict[int, int]:
        """Partition → changelog records that its store is behind, of the partitions that are followed."""
        return dict(self._lags)

    @property
    def positions(self) -> dict[int, int]:
        """Partition → changelog offset that its store continues from, of the partitions that are followed."""
        return dict(self._positions)

    # the thread

    def _run(self) -> None:
        # owned partitions come first
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while not self._stopping:
            try:
                self._step()
            except KafkaException as error:
                log.warning("standby: %s; again in %.0f s", error.args[0], _RETRY_SECONDS, extra=CLIENT_LINE)
                self._drop_consumer()
                self._rest(_RETRY_SECONDS)
            except Exception:
                log.exception("the standby ended; partitions are restored from the changelog when they are taken over")
                break
        self._drop_consumer()

    def _step(self) -> None:
        missing = self._next_missing()
        if missing is not None:
            self._fill(missing)
        elif self._assign():
            self._tail()
            self._ask_end()
            self._purge_some()
            self._scrub_one()
        else:
            self._rest(_POLL_SECONDS)

    def _rest(self, seconds: float) -> None:
        with self._lock:
            if not self._stopping:
                self._lock.wait(seconds)

    def _next_missing(self) -> int | None:
        now = time.monotonic()
        with self._lock:
            for partition in sorted(self._wanted - self._stores.keys()):
                if self._later.get(partition, 0.0) <= now:
                    self._busy = partition
                    return partition
        return None

    def _fill(self, partition: int) -> None:
        """Open the store and read its changelog up to the present end."""
        path = self._directory / str(partition)
        store: Store | None = None
        try:
            store = Store(path, self._memory)
            count = restore(
                self._conf, self._changelog, partition, store, self._clock(),
                lambda _count: None, lambda: self._stopping or partition not in self._wanted, self._identity,
            )  # fmt: skip
            with self._lock:
                self._stores[partition] = store
                self._unclean[partition] = b"t"
                self._later.pop(partition, None)
            log.info("standby of partition %d: %d changelog records read", partition, count)
        except RestoreStoppedError:
            self._abandon(store)
        except (StaleStoreError, StoreDamagedError, FormatError) as error:
            log.warning("standby of partition %d: %s; filling it anew", partition, error)
            self._abandon(store)
            wipe(path)
            self._drop_consumer()  # so that nothing it has fetched is taken for the beginning of the changelog
        except (RestoreError, StoreError) as error:
            log.warning(
                "standby of partition %d: %s; again in %.0f s", partition, error, _RETRY_SECONDS, extra=CLIENT_LINE
            )
            self._abandon(store)
            self._later[partition] = time.monotonic() + _RETRY_SECONDS
        finally:
            with self._lock:
                self._busy = None
                self._lock.notify_all()

    @staticmethod
    def _abandon(store: Store | None) -> None:
        if store is not None:
            store.close()

    def _assign(self) -> bool:
        """Let the consumer follow what is open and wanted; False when that is nothing."""
        with self._lock:
            followed = {partition: self._stores[partition] for partition in self._wanted & self._stores.keys()}
            if followed.keys() == self._assigned:
                return bool(followed)
            starts = [
                TopicPartition(self._changelog, partition, store.changelog_offset or 0)
                for partition, store in followed.items()
            ]
            self._assigned = set(followed)
        if self._consumer is None:
            self._consumer = changelog_consumer(self._conf, self._changelog, "standby", 200)
        self._consumer.assign(starts)
        return bool(followed)

    def _tail(self) -> None:
        assert self._consumer is not None
        by_partition: dict[int, list[Message]] = defaultdict(list)
        for message in take(self._consumer, CHUNK, _POLL_SECONDS):
            by_partition[message.partition() or 0].append(message)
        for partition, messages in by_partition.items():
            self._with_store(partition, partial(self._apply, partition, messages))

    def _with_store(self, partition: int, act: Callable[[Store], None]) -> None:
        """Do something with a store that is still followed; one that cannot be used is closed, and filled again."""
        with self._lock:
            store = self._stores.get(partition)
            if store is None or partition not in self._wanted:
                return  # taken over meanwhile
            try:
                act(store)
            except (StoreDamagedError, StaleStoreError) as error:
                log.warning("standby of partition %d: %s; filling it anew", partition, error)
                self._close(partition)
                wipe(self._directory / str(partition))
                self._drop_consumer()
            except (StoreError, RestoreError) as error:
                log.warning(
                    "standby of partition %d: %s; again in %.0f s", partition, error, _RETRY_SECONDS, extra=CLIENT_LINE
                )
                self._close(partition)
                self._later[partition] = time.monotonic() + _RETRY_SECONDS

    def _apply(self, partition: int, messages: list[Message], store: Store) -> None:
        # an earlier owner may have written further than this consumer had fetched
        known = store.changelog_offset
        records, _, offset = gather([each for each in messages if each.error() or (each.offset() or 0) >= known])
        offset = max(offset, known)
        lag = self._lag(partition, offset)
        if offset > known:
            complete = self._complete_of(partition)
            complete.reached(offset)
            store.follow(records, offset, complete.at)
        self._lags[partition], self._positions[partition] = lag, offset
        self._metrics.standby_lag.labels(partition=str(partition)).set(lag)

    def _ask_end(self) -> None:
        """Ask where one of the changelogs ends, so that it is known when its store has had all up to there."""
        now = self._clock()
        with self._lock:
            due = [
                partition
                for partition in sorted(self._assigned & self._wanted & self._stores.keys())
                if self._complete_of(partition).due(now, _ASK_SECONDS)
            ]
        if not due or self._consumer is None:
            return
        place = TopicPartition(self._changelog, due[0])
        _, end = self._consumer.get_watermark_offsets(place, timeout=_ASK_TIMEOUT, cached=False)
        self._with_store(due[0], partial(self._note_end, due[0], end, now))

    def _complete_of(self, partition: int) -> Complete:
        return self._complete.setdefault(partition, Complete(self._stores[partition].complete_at))

    def _note_end(self, partition: int, end: int, asked_at: float, store: Store) -> None:
        complete, offset = self._complete_of(partition), store.changelog_offset
        complete.asked(end, asked_at)
        if complete.reached(offset):  # nothing was written meanwhile
            store.write((), offset, complete_at=complete.at)

    def _lag(self, partition: int, offset: int) -> int:
        if self._consumer is None:  # dropped for the sake of another partition
            return 1
        _, high = self._consumer.get_watermark_offsets(TopicPartition(self._changelog, partition), cached=True)
        return max(0, high - offset)

    def _forget_lag(self, partition: int) -> None:
        self._complete.pop(partition, None)
        self._positions.pop(partition, None)
        if self._lags.pop(partition, None) is not None:
            self._metrics.standby_lag.remove(str(partition))

    def _purge_some(self) -> None:
        """A store that was filled in bulk, or that was owned before, has timers that its records no longer have."""
        with self._lock:
            partition = next(iter(self._unclean.keys() & self._wanted & self._stores.keys()), None)
        if partition is not None:
            self._with_store(partition, partial(self._purge, partition))

    def _purge(self, partition: int, store: Store) -> None:
        start = store.purge_timers(self._unclean[partition], _PURGE)
        if start is None:
            del self._unclean[partition]
        else:
            self._unclean[partition] = start

    def _scrub_one(self) -> None:
        """After erasures: rewrite a store's files. It cannot be read meanwhile; ``take`` stops it."""
        with self._lock:
            for partition in self._wanted & self._stores.keys() - self._unclean.keys():
                store = self._stores[partition]
                if store.scrub_due(self._clock(), self._scrub_seconds):
                    self._busy, self._scrubbing = partition, self._stores.pop(partition)
                    break
            else:
                return
        try:
            erasures = store.erasures
            store.compact()
            with self._lock:
                self._scrubbing = None  # nothing to stop any more
                store.end_scrub(erasures, self._clock())
                self._stores[partition] = store
        except StoreError as error:
            # stopped by ``take``, or it failed: opened anew, by whoever needs it
            log.info("standby of partition %d: %s", partition, error)
            store.close()
        finally:
            with self._lock:
                self._busy = self._scrubbing = None
                self._lock.notify_all()

    def _close(self, partition: int) -> None:
        store = self._stores.pop(partition, None)
        self._unclean.pop(partition, None)
        self._forget_lag(partition)
        self._abandon(store)

    def _drop_consumer(self) -> None:
        self._assigned = set()
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            try:
                consumer.close()
            except KafkaException as error:
                log.debug("closing the standby's consumer: %s", error)
