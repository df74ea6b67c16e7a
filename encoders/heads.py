"""Learned heads: the table of kinds, and the names that the rest of the service uses."""

from __future__ import annotations

from collections.abc import Sequence

from encoders.heads_base import BlockReport, OnlineHead, kind_of
from encoders.heads_published import PublishedHead, evidence_shares
from encoders.heads_river import RiverSoftmaxHead
from encoders.heads_rls import RlsHead

__all__ = [
    "HEADS",
    "BlockReport",
    "OnlineHead",
    "PublishedHead",
    "RiverSoftmaxHead",
    "RlsHead",
    "evidence_shares",
    "head_from_bytes",
    "make_head",
]

#: One row for each kind of head; a new one is a subclass of ``OnlineHead`` and a row here.
HEADS: dict[str, type[OnlineHead]] = {head.kind: head for head in (RlsHead, RiverSoftmaxHead)}


def make_head(kind: str, classes: Sequence[str], dim: int, exclusive: bool = True, **options: float) -> OnlineHead:
    """A new head: ``kind`` from ``HEADS``, ``options`` of that kind (``rls``: ridge, temperature; ``softmax``: rate,
    temperature). Raises ValueError for an unknown kind or a kind that cannot do it."""
    return _row(kind)(classes, dim, exclusive=exclusive, **options)


def head_from_bytes(data: bytes) -> OnlineHead:
    """The head that ``to_bytes`` saved, of whatever kind. Raises ValueError if the bytes are no head."""
    return _row(kind_of(data)).from_bytes(data)


def _row(kind: str) -> type[OnlineHead]:
    if kind not in HEADS:
        raise ValueError(f"no head of kind {kind!r}; there are {', '.join(sorted(HEADS))}")
    return HEADS[kind]
