"""The threads of a worker's turns: what waits for Kafka's commit keeps no thread from those that fold or read."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from streams.kafka.work import Done, Folded, Work
from streams.kafka.writer import PartitionWriter


class Turns:
    """Partitions fold and are read in ``folding``, in as many ``threads``; as many others commit one transaction each,
    and what is folded waits for one of these. From one to the other a turn goes without the event loop, which may be
    busy."""

    def __init__(self, threads: int) -> None:
        self.folding = ThreadPoolExecutor(threads, thread_name_prefix="turn")
        self._committing = ThreadPoolExecutor(threads, thread_name_prefix="commit")

    def shutdown(self) -> None:
        """End the threads when they are through with what they were given."""
        self.folding.shutdown()
        self._committing.shutdown()

    def take(self, writer: PartitionWriter, work: Work) -> Future[Done]:
        """A whole turn, which cannot be cancelled. The future has what ``writer.process`` returns or raises;
        RuntimeError when the threads have ended."""
        taken: Future[Done] = Future()
        taken.set_running_or_notify_cancel()
        self.folding.submit(writer.fold, work).add_done_callback(partial(self._folded, writer, taken))
        return taken

    def _folded(self, writer: PartitionWriter, taken: Future[Done], folding: Future[Folded]) -> None:
        # by callbacks: a frame that had caught the error would be kept by it, and keep the turn's records
        if error := folding.exception():
            taken.set_exception(error)
            return
        try:
            committing = self._committing.submit(_rest, writer, folding.result())
        except RuntimeError as error:
            taken.set_exception(error)
        else:
            committing.add_done_callback(partial(_ended, taken))


def _rest(writer: PartitionWriter, folded: Folded) -> Done:
    return writer.finish(folded, writer.commit(folded))


def _ended(taken: Future[Done], committing: Future[Done]) -> None:
    if error := committing.exception():
        taken.set_exception(error)
    else:
        taken.set_result(committing.result())
