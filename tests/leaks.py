"""What an act leaves behind: not a block of Python's, not a byte of the C library's heap, not a reference."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from typing import Final

#: an act is done so often in a round, so what it leaves each time is seen beside what happens once in a while
TIMES: Final = 20
ROUNDS: Final = 12
#: a dictionary of the interpreter's own may grow in a round or two, but not in all of them
COMMON: Final = (
    None,
    True,
    False,
    NotImplemented,
    ...,
    0,
    (),
    "",
    b"",
    object,
    type,
    dict,
    list,
    tuple,
    str,
    bytes,
    int,
)


class _Heap(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keep",
        )
    ]


_C = ctypes.CDLL(None)
_C.mallinfo2.restype = _Heap


@contextmanager
def nothing_else() -> Iterator[None]:
    """What there is now is left alone by the collector, which is then quick; else it looks at all of it each time."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _counts(watched: Sequence[object]) -> tuple[int, ...]:
    gc.collect()
    heap = _C.mallinfo2()
    return (sys.getallocatedblocks(), heap.uordblks + heap.hblkhd, *map(sys.getrefcount, watched))


def left_behind(act: Callable[[], object], watched: Sequence[object] = (), times: int = TIMES) -> list[tuple[int, ...]]:
    """What each round of so many acts changed: blocks, bytes of the heap, references to each of COMMON and ``watched``.

    Empty as soon as one round changed none of it: what is lost by each act is lost in every round.
    """
    watched = (*COMMON, *watched)
    changes: list[tuple[int, ...]] = []
    with nothing_else():
        for _ in repeat(None, ROUNDS):  # no numbers, whose references are watched
            before = _counts(watched)
            for _ in repeat(None, times):
                act()
            after = _counts(watched)
            change = tuple(now - then for then, now in zip(before, after, strict=True))
            if not any(change):
                return []
            changes.append(change)
    return changes
