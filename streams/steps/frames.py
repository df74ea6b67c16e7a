"""Epochs of definitions are a partition's own: what they say of a user who moves, in the numbers of the new home. Pure.

A partition's *frame* is what its position record says of definitions: which are in force, its epoch, and since which
epoch each term is counted (see ``in_force``). A new partition takes the frame of the one that is furthest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from state import format1, layout
from state.record import Record as State
from state.tables import ids_numbers, open_record
from streams.steps.in_force import epoch_of


@dataclass(frozen=True)
class Frame:
    """See ``layout.Meta``, which has these fields."""

    definitions: int
    fingerprint: int
    epoch: int
    swept: int
    terms: dict[str, int]


def frame_of(meta: layout.Meta) -> Frame:
    return Frame(meta.definitions, meta.fingerprint, meta.epoch, meta.swept, meta.terms)


class Frames:
    """Of the partitions whose position records are ``metas``, and of all ``after`` that there are to be."""

    def __init__(self, metas: Sequence[layout.Meta], after: int) -> None:
        self._metas = metas
        furthest = frame_of(max(metas, key=lambda meta: (meta.definitions, meta.epoch)))
        own = [frame_of(meta) if _is_inhabited(meta) else furthest for meta in metas]
        self._targets = own + [furthest] * (after - len(metas))

    def translated(
        self, source: int, target: int, user: str, value: bytes, chunks: Callable[[range], Iterable[bytes | None]]
    ) -> dict[bytes, bytes | None]:
        """A user's record in the numbers of the new home: the same terms count as unknown as before. As puts, with what
        else changes by that where it was of format 1; ``chunks`` reads the records of the user's ids."""
        meta, frame = self._metas[source], self._targets[target]
        key = layout.user_key(user)
        if _same(frame_of(meta), frame):
            return {key: value}
        puts: dict[bytes, bytes | None] = {}
        state: State
        if format1.is_format_1(value):
            state, texts = format1.read(user, value, chunks(ids_numbers(value)), partial(epoch_of, meta))
            begin, end = state.texts_put, state.texts_put + len(texts)
            state.texts_put = end
            puts.update(zip(layout.text_keys(user, begin, end), map(layout.encode_text, texts), strict=True))
            puts.update(zip(layout.seen_keys(user, state.ids.unsaved), state.ids.unsaved.values(), strict=True))
        else:
            state = open_record(user, value)
        for term in frame.terms:
            if meta.terms.get(term, state.epoch + 1) > state.epoch:
                state.cells.mark_unknown(term, state.time)
        state.epoch = frame.epoch
        return {**puts, key: state.pack()}

    def after(self, target: int) -> Frame:
        """The frame of a partition once all have moved. Where a user may come who is to be looked at anew, a further
        epoch has everybody looked at."""
        frame = self._targets[target]
        sources = [
            frame_of(meta) for number, meta in enumerate(self._metas) if number != target and _is_inhabited(meta)
        ]
        swept = all(each.swept == each.epoch for each in (*sources, frame))
        if all(_same(each, frame) for each in sources) or (swept and all(_fits(each, frame) for each in sources)):
            return replace(frame, swept=frame.epoch if swept else 0)
        return replace(frame, epoch=frame.epoch + 1 if frame.epoch else 0, swept=0)


def _is_inhabited(meta: layout.Meta) -> bool:
    return bool(meta.epoch or meta.users)


def _same(one: Frame, other: Frame) -> bool:
    """The same epoch means the same in both."""
    return replace(one, swept=0) == replace(other, swept=0)


def _fits(source: Frame, target: Frame) -> bool:
    """Whoever was looked at there at last has missed nothing of what is counted here."""
    alike = (source.definitions, source.fingerprint) == (target.definitions, target.fingerprint)
    return alike and target.terms.keys() <= source.terms.keys()
