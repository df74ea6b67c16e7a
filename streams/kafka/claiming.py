"""Claims of partitions (ADR 0043), carried out: what ``streams.kafka.claim`` asks for is done on Kafka."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Final

from confluent_kafka import KafkaException

from state.layout import POSITION_KEY, Meta, encode_meta
from streams.kafka.admin import AdminError, ConfValue, client, offsets
from streams.kafka.changelog import RestoreStoppedError
from streams.kafka.claim import Claim, Todo
from streams.kafka.errors import AbortedError, PermanentError, classified
from streams.kafka.fencing import end_transaction
from streams.kafka.own_claim import OwnClaim
from streams.kafka.positions import read_positions
from streams.kafka.shelves import transactional_producer
from streams.kafka.transactions import own_id
from streams.settings import Settings
from streams.steps.effects import Place

#: seconds beyond the transaction timeout for which a transaction may stay open that nobody has
_GRACE: Final = 10.0
#: between two looks
_POLL_SECONDS: Final = 0.02
#: a look that takes longer says nothing of how long a transaction hangs: Kafka was away meanwhile
_LOOK_SECONDS: Final = 1.0
#: Kafka asks for a transaction timeout also where nothing is to follow
_FENCE_MS: Final = 60_000


class Fences:
    """Ends writers by their transactional ids, each once, whoever asks for it."""

    def __init__(self, fence: Callable[[str], object]) -> None:
        self._fence = fence
        self._lock = threading.Lock()
        self._fenced: dict[str, Future[None]] = {}

    def fence(self, writer: str) -> None:
        """Returns when it is done, by this call or another. Raises what kept it from being done."""
        with self._lock:
            mine = writer not in self._fenced
            done = self._fenced.setdefault(writer, Future())
        if mine:
            try:
                self._fence(writer)
            except BaseException as error:
                with self._lock:
                    del self._fenced[writer]
                done.set_exception(error)
                raise
            done.set_result(None)
        done.result()


def fence(conf: Mapping[str, ConfValue], writer: str) -> None:
    """What ``writer`` has open is aborted, and it commits nothing more. Raises an error of ``streams.kafka.errors``."""
    if end_transaction(conf, writer, _FENCE_MS):
        return
    try:
        transactional_producer(conf, writer)
    except KafkaException as error:
        raise classified(error) from error


class Claims:
    """What the claims of a worker, or a tool, have in common: who is fenced once is fenced for good."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        conf = settings.librdkafka()
        self.ask_anew()
        self.fences = Fences(lambda writer: fence(conf, writer))

    def ask_anew(self) -> None:
        """By another client: of a broker that was away one may remember that nobody leads a partition."""
        self.admin = client(self.settings.librdkafka())


class Claiming:
    """Claims one partition for a writer. For one thread; each method blocks."""

    def __init__(self, claims: Claims, place: Place, writer: str) -> None:
        """``writer``: the id of a producer that is made. Fences other claims of the partition. Raises an error of
        ``streams.kafka.errors``."""
        self._claims = claims
        self._place = place
        settings = claims.settings
        self._own = OwnClaim(settings.librdkafka(), own_id(place), settings.transaction_timeout_ms)
        self._claim = Claim(writer).claims_fenced()
        self._stable = False
        self._patience = claims.settings.transaction_timeout_ms / 1e3 + _GRACE
        self._hung = self._looked = 0.0

    def begin_again(self) -> None:
        """The local store is made anew."""
        self._claim = self._claim.begun_again()

    def knows(self, writer: str, stopping: Callable[[], bool]) -> None:
        """Before the first look: the local store's position record names ``writer``. Raises as ``read`` does."""
        self._claim = self._claim.knows(writer)
        if self._claim.todo is Todo.FENCE_WRITER:
            self._fence(stopping)

    def look(self) -> tuple[int, int]:
        """Before the changelog is read on: (its first offset, that to which it has to be read at least). Raises an
        error of ``streams.kafka.errors``."""
        key = (self._place.topics.changelog, self._place.partition)
        self._looked = time.monotonic()
        try:
            stable = offsets(self._claims.admin, [key], "end", "read_committed", timeout=self._patience)[key]
            self._stable = stable == offsets(self._claims.admin, [key], "end", timeout=self._patience)[key]
            first = offsets(self._claims.admin, [key], "start", timeout=self._patience)[key]
        except AdminError as error:
            self._claims.ask_anew()
            raise (AbortedError if error.may_pass else PermanentError)(f"it cannot be claimed: {error}") from error
        return first, stable

    def read(self, writer: str, stopping: Callable[[], bool]) -> bool:
        """It was read, and the newest position record names ``writer``. True: there is no more to come; else look
        again. Raises an error of ``streams.kafka.errors``; RestoreStoppedError when the partition is not wanted."""
        self._claim = self._claim.looked(writer, self._stable)
        if self._claim.todo is Todo.WRITE:
            return True
        if self._claim.todo is Todo.FENCE_WRITER:
            self._fence(stopping)
        elif stopping():
            raise RestoreStoppedError("the claim was stopped")
        else:
            self._hangs()
        return False

    def _fence(self, stopping: Callable[[], bool]) -> None:
        if stopping():  # somebody else may have it, and be the writer
            raise RestoreStoppedError("the claim was stopped")
        self._claims.fences.fence(self._claim.writer)
        self._claim = self._claim.writer_fenced()

    def _hangs(self) -> None:
        time.sleep(_POLL_SECONDS)
        self._hung += min(time.monotonic() - self._looked, _LOOK_SECONDS)
        if self._hung > self._patience:
            raise PermanentError(_hanging(self._place.topics.changelog, [self._place.partition]))

    def write(self, meta: Meta) -> tuple[bytes, int]:
        """Commit what was read last, with the writer's name: the partition is its. Returns the position record and the
        changelog offset to continue from. Raises an error of ``streams.kafka.errors``: FencedError when somebody
        claimed it after us, and after AbortedError it may be claimed anew."""
        meta.writer = self._claim.slot
        value = encode_meta(meta)
        offset = self._own.write(self._place.topics.changelog, self._place.partition, POSITION_KEY, value)
        self._claim = self._claim.written()
        return value, offset + 1


def claiming(claims: Claims, place: Place, writer: str) -> Claiming | None:
    """``Claiming``; None where there are no transactions, which keeps nobody apart (``at_least_once``)."""
    return Claiming(claims, place, writer) if claims.settings.processing_guarantee == "exactly_once" else None


def fence_all(
    conf: Mapping[str, ConfValue], changelog: str, partitions: int, patience: float, fence: Callable[[str], object]
) -> None:
    """Fence whoever may write these partitions, when all claims of them are fenced: nothing is open there then.
    ``patience``: seconds for which a transaction may be open.

    Raises AdminError, RestoreError, PermanentError.
    """
    admin = client(conf)
    fenced: set[str] = set()
    keys = [(changelog, number) for number in range(partitions)]
    until = time.monotonic() + patience + _GRACE
    while True:
        stable = offsets(admin, keys, "end", "read_committed")
        high = offsets(admin, keys, "end")
        named = {meta.writer for meta in read_positions(conf, changelog, partitions).values()} - {""} - fenced
        for writer in sorted(named):
            fence(writer)
        fenced |= named
        hanging = [number for name, number in keys if stable[name, number] != high[name, number]]
        if not named and not hanging:
            return
        if hanging and time.monotonic() > until:
            raise PermanentError(_hanging(changelog, hanging))
        time.sleep(_POLL_SECONDS)


def _hanging(changelog: str, numbers: Iterable[int]) -> str:
    where = ", ".join(f"{changelog}-{number}" for number in numbers)
    return (
        f"a transaction that nobody has stays open in {where}, longer than transactions may: find it with "
        "`kafka-transactions.sh find-hanging` and abort it"
    )
