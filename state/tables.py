"""Where users' records lie in memory: a worker's arena, a partition's table, a turn's area.

A turn works on copies, in its *area*. ``commit`` puts them in place, ``drop`` forgets them: what is in memory is never
ahead of what is committed, and an aborted turn costs nothing else. It may be ahead of the *store*, though: ADR 0046.
Compiled they are types of ``state._fold`` over
``state/c/core``; ``state.plain.table`` says what they do, and does it where nothing is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

from state import format1
from state.compiled import COMPILED, UNUSABLE, CompiledError
from state.layout2 import FORMAT, HEADER, IDS_LEAD, MOST_CHUNKS, UNIT
from state.loading import Batch
from state.plain import record as plain
from state.plain import table
from state.plain.codec import damaged, split
from state.plain.record import PlainRecord
from state.record import Record
from state.windows import TallySpec


class Area(Protocol):
    """One turn of a partition. After ``commit`` or ``drop`` all verbs of it and of its records raise RuntimeError.

    Whatever brings users into the turn, or makes a record larger, may raise MemoryError: the arena gives no more than
    it reserved. The turn is then to be dropped.
    """

    def find(self, users: Iterable[str]) -> list[str]:
        """Copy those of ``users`` who are in memory into the turn; returns who is neither in the turn nor in memory, in
        order, each once. Whoever was forgotten in this turn is not in memory."""

    def admit(self, user: str, block: bytes, chunks: Sequence[bytes | None]) -> Record:
        """Somebody who is not in memory, as the store has them: a block of format 2, and the bytes of the records ``d``
        of its ids (``ids_numbers``), the oldest first; None: it is missing. Raises FormatError."""

    def admit_whole(self, blocks: dict[str, bytes]) -> list[str]:
        """``admit`` those of these users, in their order, whose blocks are of format 2 and have all of their ids;
        returns who is left. Raises FormatError; some may be in the turn then."""

    def take(self, record: PlainRecord, due: float) -> Record:
        """The same of a record that was made in Python: read from format 1, say. What the store has of its ids'
        records is ``record.ids.saved``, their bytes are ``record.ids.chunks()``; ``due``: the timer that the store has,
        NEVER: none. Whoever was forgotten in this turn may come again so. ``record`` is not used any more."""

    def get(self, user: str) -> Record | None:
        """Of this turn; None: not found yet, or forgotten."""

    def begin(self, user: str, epoch: int, life: int) -> Record:
        """Somebody never seen, or forgotten in this turn: all is known, nothing was done."""

    def forget(self, user: str, erased: bool) -> float:
        """Who is in memory, in the turn or not, is no longer with the commit. ``erased``: the user asked for it, so no
        byte of it may be left in memory then. Returns the timer that the store has of the user; NEVER: none."""

    def due(self, user: str) -> float | None:
        """The timer of the turn's copy, else of what is in memory; nothing is copied. None: not in memory. Who is in
        memory alone may go when another comes into the turn."""

    def users(self) -> list[str]:
        """Of this turn, but for those who are forgotten, in the order in which they came."""

    def __contains__(self, user: object) -> bool:
        """Whether ``get`` gives a record."""

    def settle(
        self, specs: Sequence[TallySpec], puts: dict[bytes, bytes | None], timed: set[bytes]
    ) -> tuple[float, int, int]:
        """The end of the turn, once: each record is trimmed of what is over (``specs``: all tallies that definitions
        ask for, in any order), its version becomes the next, and it is packed.

        ``puts`` gets the records ``u`` and those of ids ``d`` that changed, ``timed`` the keys of records whose timer
        is as the store has it. Returns the earliest timer of them, how many ids were forgotten early, and the bytes of
        what was put. Raises TooLargeError (``state.record``).
        """

    def commit(self, behind: bool = False, /) -> None:
        """All copies are what is in memory from now on. ``behind``: and dirty, that is newer than what the store has,
        until ``Table.put_dirty`` puts them; else the store gets what ``settle`` put at the same time. Cannot fail."""

    def drop(self) -> None:
        """All is as before the turn. Cannot fail, and does nothing once the turn is over."""


class Table(Protocol):
    """Who is in memory, of one partition. Used by one thread at a time."""

    @property
    def users(self) -> int: ...
    @property
    def bytes_held(self) -> int: ...
    def get(self, user: str) -> bytes | None:
        """The committed block; None: not in memory. Raises RuntimeError during a turn."""

    def begin(self) -> Area:
        """Raises RuntimeError while another turn is under way."""

    def tidy(self) -> None:
        """Let go what is above the arena's bound, but nobody who is dirty: between turns, and each second where there
        are none."""

    @property
    def dirty(self) -> int:
        """Users in memory who are newer there than in the store."""

    @property
    def tight(self) -> bool:
        """Memory is nearly full, or somebody was to be let go within the last turns: there should not be more who are
        dirty. May be asked during a turn."""

    def put_dirty(self, batch: Batch, start: float, end: float) -> int:
        """Put into ``batch`` those of the dirty who are in this part of a round (0 to 1), and call them dirty no more;
        returns how many. All who are dirty now are put once parts that meet have covered 0 to 1; turns may come in
        between. Raises what the batch does; then some are called so who were not put. RuntimeError during a turn."""

    def put_new(self, batch: Batch) -> int:
        """The same of those of whom the store has nothing (or may have nothing) yet, all of them."""

    def clear(self) -> None:
        """All goes: the partition closes. A turn under way is dropped."""


class Arena(Protocol):
    """The memory that the tables of all partitions of a worker share. Tables may belong to different threads."""

    def table(self) -> Table: ...
    @property
    def bytes_held(self) -> int:
        """Of all tables."""


#: (bytes at most) → the arena of a worker
new_arena: Callable[[int], Arena]
#: (user, block of format 2) → a record of its own, outside of any turn, whose ids beyond the block are not there.
#: Raises FormatError
open_record: Callable[[str, bytes], Record]
if TYPE_CHECKING or COMPILED is None:
    new_arena, open_record = table.PlainArena, plain.unpack
else:
    try:
        new_arena, open_record = COMPILED.Arena, COMPILED.open_record
    except AttributeError as error:
        raise CompiledError(f"{UNUSABLE}: {error}") from error


def open_stored(user: str, data: bytes, epoch_of: Callable[[int], int]) -> Record:
    """``open_record`` for what the store has, of either format. ``epoch_of``: see ``format1.read``. Raises
    FormatError."""
    if format1.is_format_1(data):
        return format1.read(user, data, None, epoch_of)[0]
    return open_record(user, data)


def ids_numbers(data: bytes) -> range:
    """Numbers of the records ``d`` that a user's record of either format speaks of; it is not checked otherwise. Raises
    FormatError."""
    if format1.is_format_1(data):
        return format1.ids_numbers(data)
    if len(data) < HEADER.size or data[0] != FORMAT:
        split(data)  # says what is wrong
    size = HEADER.unpack_from(data)[-1] * UNIT
    if not size:
        return range(0)
    if not IDS_LEAD.size <= size <= len(data) - HEADER.size:
        raise damaged("ids", "it ends too early")
    first, stored, _ = IDS_LEAD.unpack_from(data, len(data) - size)
    if not first <= stored <= first + MOST_CHUNKS:
        raise damaged("ids", f"records {first} to {stored}")
    return range(first, stored)
