"""The threads of a worker's turns: what waits for Kafka's commit keeps no thread from those that fold or read."""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from functools import partial

from streams.kafka.rounds import Rounds, slot_of, space
from streams.kafka.slots import Offered, Slot
from streams.kafka.transactions import Transactions, new_writer_id
from streams.kafka.work import Done, Folded, Work
from streams.kafka.writer import PartitionWriter
from streams.settings import Settings


class Turns:
    """Partitions fold and are read in ``folding``, and end their turns there; between them lies a round of a slot. From
    one to the other a turn goes without the event loop, which may be busy."""

    def __init__(self, threads: int, make: Callable[[Executor], Slot], slots: int) -> None:
        """``make``: a slot that ends turns by an executor. Each assignment has ``slots`` new ones."""
        self.folding = ThreadPoolExecutor(threads, thread_name_prefix="turn")
        self._make = make
        self._count = slots
        self._assigned: dict[int, Slot] = {}
        self._slots: list[Slot] = []

    def assign(self, numbers: Collection[int]) -> None:
        """These partitions, all of the worker's, have new slots; those before must have had their last turns."""
        self._end()
        count = min(self._count, len(numbers))
        self._slots = [self._make(self.folding) for _ in range(count)]
        self._assigned = {number: self._slots[slot_of(number, [*numbers], count)] for number in numbers}

    def slot(self, partition: int) -> Slot:
        """By which this partition goes."""
        return self._assigned[partition]

    def want_refresh(self, partition: int) -> bool:
        """Its slot has had nothing to write for so long that it should write something."""
        return self._assigned[partition].wants_refresh

    @property
    def space(self) -> float:
        """Seconds from the begin of a partition's turn to that of its next."""
        return space(sum(slot.busy for slot in self._slots))

    def shutdown(self) -> None:
        """End the threads when they are through with what they were given."""
        self._end()
        for slot in self._slots:
            slot.join()
        self.folding.shutdown()

    def take(self, writer: PartitionWriter, work: Work) -> Future[Done]:
        """A whole turn, which cannot be cancelled. The future has what ``writer.finish`` returns, or what ended the
        turn before; RuntimeError when the threads have ended."""
        taken: Future[Done] = Future()
        taken.set_running_or_notify_cancel()
        slot = self.slot(writer.place.partition)
        self.folding.submit(writer.fold, work).add_done_callback(partial(_folded, slot, writer, taken))
        return taken

    def _end(self) -> None:
        for slot in self._slots:
            slot.stop()


def _folded(slot: Slot, writer: PartitionWriter, taken: Future[Done], folding: Future[Folded]) -> None:
    # by callbacks: a frame that had caught the error would be kept by it, and keep the turn's records
    if error := folding.exception():
        taken.set_exception(error)
    else:
        slot.offer(Offered(writer, folding.result(), taken))


def make_slot(settings: Settings, on_committed: Callable[[int], object], folding: Executor) -> Slot:
    """One of a worker with these settings."""
    identity = new_writer_id(settings.installation)
    costs = settings.processing_guarantee == "exactly_once"
    rounds = Rounds() if costs else Rounds(pace=0.0, markers=0.0)
    make = partial(Transactions, settings, identity)
    return Slot(make, folding, rounds, on_committed, give_up_seconds=settings.give_up_seconds)
