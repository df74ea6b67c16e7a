"""The compiled core's fold (``state/c/core/fold.h``) by ctypes: a plan's image, and a user whose events are folded."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import POINTER, byref, c_double, c_int, c_int32, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p

from state.plan_image import Described, write
from state.user import INTEREST, category_bucket
from tests.core_parts import CORE, Block, Held, IdsAt
from tests.core_record import CoreRecord
from tests.fold_twin import Given

ALL, LEFT, OPENED, NO_ROOM, NO_MEMORY = range(5)


class FoldEvent(ctypes.Structure):
    _fields_ = (
        ("time", c_double), ("amount", c_double), ("dwell", c_double), ("id_hash", c_uint64), ("second", c_uint32),
        ("route", c_int32), ("bucket", c_int32), ("anonymous", c_uint8),
    )  # fmt: skip


class _PlanImage(ctypes.Structure):
    _fields_ = (*((f"table{number}", c_void_p) for number in range(9)), ("touched", c_uint32))


def _declare() -> None:
    ids, plan = POINTER(IdsAt), POINTER(_PlanImage)
    for function, result, *arguments in (
        ("plan_open", c_int, plan, c_void_p, c_size_t),
        ("plan_next_due", c_double, plan, POINTER(Block)),
        ("fold_scratch_new", c_void_p, plan),
        ("fold_scratch_free", None, c_void_p),
        ("fold_scratch_begin", None, c_void_p),
        ("fold_wanted", c_size_t, c_void_p),
        ("fold_next_due", c_double, plan, POINTER(Block), c_void_p),
        ("fold_user", c_int, ids, plan, POINTER(FoldEvent), POINTER(c_uint32), c_uint32, POINTER(c_uint32), c_double,
         c_double, c_void_p),
    ):  # fmt: skip
        declared = getattr(CORE, function)
        declared.restype, declared.argtypes = result, arguments


_declare()


class CorePlan:
    """An image that was checked."""

    def __init__(self, told: Described, image: bytes | None = None) -> None:
        """``image``: instead of that of ``told``. Raises ValueError with the fault's number."""
        image = write(told) if image is None else image
        self._bytes = (c_uint64 * -(-len(image) // 8))()  # at a multiple of eight
        ctypes.memmove(self._bytes, image, len(image))
        self.image = _PlanImage()
        fault = CORE.plan_open(byref(self.image), self._bytes, len(image))
        if fault:
            raise ValueError(fault)
        self.scratch = c_void_p(CORE.fold_scratch_new(byref(self.image)))
        self._routes = {(route.kind, route.category): number for number, route in enumerate(told.routes)}

    def __del__(self) -> None:
        CORE.fold_scratch_free(getattr(self, "scratch", None))

    def event(self, given: Given) -> FoldEvent:
        kind, category = given.kind, given.category
        route = self._routes.get((kind, category), self._routes.get((kind, ""), -1))
        bucket = category_bucket(category) if category and kind in INTEREST else -1
        second = max(0, min(int(given.arrived), 2**32 - 1))
        return FoldEvent(
            given.time, given.amount, given.dwell, given.id_hash, second, route, bucket, given.anonymous
        )  # fmt: skip


class CoreUser:
    """A record that is folded into."""

    def __init__(self, data: bytes | None = None, step: int = 0) -> None:
        """``data``: a block that is right. ``step``: by so many bytes it grows at a time; 0: by those that the fold
        wants."""
        self.record = CoreRecord("u", data=data)
        self._step = step

    @property
    def held(self) -> Held:
        return self.record.held

    def fold(self, plan: CorePlan, given: Sequence[Given], at: int, limit: float, erased: float) -> tuple[int, bool]:
        """(number of the first event that was not folded, whether the one before may change a membership)."""
        events = (FoldEvent * len(given))(*map(plan.event, reversed(given)))  # so that the order matters
        order = (c_uint32 * len(given))(*reversed(range(len(given))))
        here = c_uint32(at)
        while True:
            before, was = self.held.data(), here.value
            end = CORE.fold_user(
                byref(self.record.ids._at()),
                byref(plan.image),
                events,
                order,
                len(given),
                byref(here),
                limit,
                erased,
                plan.scratch,
            )
            if end != NO_ROOM:
                assert end in (ALL, LEFT, OPENED)
                assert (here.value == len(given)) if end == ALL else (here.value > at or end == LEFT)
                due = CORE.fold_next_due(byref(plan.image), byref(self.held.block), plan.scratch)
                assert due == self.next_due(plan)
                return here.value, end == OPENED
            if here.value == was:
                assert _without_due(self.held.data()) == _without_due(before), "it changed"
            self.held.widen(self._step or CORE.fold_wanted(plan.scratch))

    def next_due(self, plan: CorePlan) -> float:
        before = self.held.data()
        due: float = CORE.plan_next_due(byref(plan.image), byref(self.held.block))
        assert self.held.data() == before
        return due


def _without_due(block: bytes) -> bytes:
    return block[:1] + block[9:]
