"""The light part of a head: what a worker needs to predict. Matrix product, calibration, evidence; numpy only."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from encoders.base import F32, F64, Bools, as_batch

FORMAT = 1
"""Version of the byte layout of heads."""
MAX_VERSION = 2**53
"""No head is ever published so often; sums of versions stay whole numbers that 64 bits hold."""


class Scorer(Protocol):
    """What explaining needs of a head."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def raw_scores(self, x: npt.ArrayLike, /) -> F32: ...


def raw_scores(weights: F32, x: npt.ArrayLike) -> F32:
    """``x`` f32[n, d] times weights f32[K, d + 1] (the last column is the bias) to f32[n, K]."""
    return as_batch(x, weights.shape[1] - 1, "x") @ weights[:, :-1].T + weights[:, -1]


def calibrate(scores: F32, labelled: Bools, temperature: float, exclusive: bool) -> F32:
    """Raw scores f32[n, K] to probabilities f32[n, K].

    Exclusive: softmax of scores / temperature (Guo et al. 2017, "On Calibration of Modern Neural Networks") over all
    classes. Otherwise each class for itself: sigmoid((score - 1/2) / temperature), the targets being 0 and 1.
    A class never confirmed for anybody (``labelled`` bool[K]) has probability 0; in an exclusive group its share of the
    softmax stays with "none of these", so that the first class labelled does not get everybody.
    """
    z = scores.astype(np.float64) / temperature
    if exclusive:
        z = np.where(labelled, z, 0.0)
        odds = np.exp(z - z.max(axis=1, keepdims=True)) if scores.shape[1] else z
        p = odds / odds.sum(axis=1, keepdims=True) if scores.shape[1] else odds
    else:
        p = 0.5 * (1.0 + np.tanh((z - 0.5 / temperature) / 2.0))
    return np.where(labelled, p, 0.0).astype(np.float32)


def pack_array(x: npt.NDArray[np.generic], dtype: str) -> bytes:
    """The numbers of ``x`` as little-endian ``dtype``, row by row."""
    return np.ascontiguousarray(x, dtype=dtype).tobytes()


def unpack_array(data: bytes, dtype: str, *shape: int) -> npt.NDArray[np.generic]:
    """The array that ``pack_array`` packed; raises ValueError if the length does not fit the shape."""
    if len(data) != np.dtype(dtype).itemsize * int(np.prod(shape)):
        raise ValueError(f"head: {len(data)} bytes do not hold {dtype} of shape {list(shape)}")
    return np.frombuffer(data, dtype=dtype).reshape(shape).astype(np.dtype(dtype).newbyteorder("="))


class _FormatOnly(msgspec.Struct):
    format: int


def first_format(data: bytes) -> int:
    """The format version that a head's bytes begin with; ValueError if they are no head's."""
    try:
        header: _FormatOnly = msgspec.msgpack.decode(data, type=_FormatOnly)
    except (msgspec.MsgspecError, RecursionError) as e:
        raise ValueError(f"not a head: {e}") from e
    return header.format


class _Record(msgspec.Struct, frozen=True):
    format: int
    classes: list[str]
    weights: bytes
    labelled: list[bool]
    temperature: float
    exclusive: bool
    version: int
    seen: int
    metrics: dict[str, float]


class PublishedHead:
    """A head that only predicts; immutable, read from ``OnlineHead.published()``."""

    def __init__(
        self,
        classes: Sequence[str],
        weights: F32,
        labelled: Bools,
        *,
        temperature: float,
        exclusive: bool,
        version: int = 0,
        seen: int = 0,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """``weights`` f32[K, d + 1], the last column the bias; ``labelled`` bool[K]."""
        if weights.ndim != 2 or len(weights) != len(classes) or labelled.shape != (len(classes),):
            raise ValueError(f"{len(classes)} classes, but weights {weights.shape} and labelled {labelled.shape}")
        self.classes = tuple(classes)
        self.weights = weights
        self.labelled = labelled
        self.temperature = temperature
        self.exclusive = exclusive
        self.version = version
        self.seen = seen
        self._metrics = dict(metrics or {})

    @property
    def dim(self) -> int:
        return int(self.weights.shape[1]) - 1

    def metrics(self) -> dict[str, float]:
        """The full head's metrics when it was published."""
        return dict(self._metrics)

    def raw_scores(self, x: npt.ArrayLike) -> F32:
        """f32[n, d] to uncalibrated scores f32[n, K]."""
        return raw_scores(self.weights, x)

    def predict_proba_many(self, x: npt.ArrayLike) -> F32:
        """f32[n, d] to probabilities f32[n, K], in the order of ``classes``."""
        return calibrate(self.raw_scores(x), self.labelled, self.temperature, self.exclusive)

    def predict_proba_one(self, x: npt.ArrayLike) -> dict[str, float]:
        """f32[d] to the probability of each class."""
        row = self.predict_proba_many(np.asarray(x, dtype=np.float32)[None])[0]
        return dict(zip(self.classes, row.tolist(), strict=True))

    def to_bytes(self) -> bytes:
        """Msgpack; no pickle."""
        return msgspec.msgpack.encode(
            _Record(
                FORMAT,
                list(self.classes),
                pack_array(self.weights, "<f4"),
                self.labelled.tolist(),
                self.temperature,
                self.exclusive,
                self.version,
                self.seen,
                self._metrics,
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> PublishedHead:
        """Raises ValueError if the bytes are not a published head of this format."""
        if (found := first_format(data)) != FORMAT:
            raise ValueError(f"published head of format {found}; this code reads {FORMAT}")
        try:
            r = msgspec.msgpack.decode(data, type=_Record)
        except (msgspec.MsgspecError, RecursionError) as e:
            raise ValueError(f"not a published head: {e}") from e
        if not (0.0 < r.temperature < math.inf and 0 <= r.version < MAX_VERSION and 0 <= r.seen < MAX_VERSION):
            raise ValueError(f"published head: temperature {r.temperature}, version {r.version}, seen {r.seen}")
        n, numbers = len(r.classes), len(r.weights) // 4
        if n == 0 or numbers % n:
            raise ValueError(f"published head: {numbers} weights for {n} classes")
        weights = unpack_array(r.weights, "<f4", n, numbers // n).astype(np.float32)
        if not np.isfinite(weights).all():
            raise ValueError("published head: weights must be finite")
        labelled = np.array(r.labelled, dtype=np.bool_)
        return cls(
            r.classes,
            weights,
            labelled,
            temperature=r.temperature,
            exclusive=r.exclusive,
            version=r.version,
            seen=r.seen,
            metrics=r.metrics,
        )


def evidence_shares(
    head: Scorer, name: str, fused_full: npt.ArrayLike, fused_without: Mapping[str, npt.ArrayLike]
) -> dict[str, float]:
    """How much each modality speaks for the class ``name`` in one user: by how much its raw score drops without it.

    ``fused_full`` f32[d]; ``fused_without`` by modality, f32[d] each (see ``Fusion.without``). Drops are clipped at 0
    and scaled to sum to 1; all are 0.0 if no modality speaks for the class. This is leave-one-out attribution
    (occlusion: Zeiler, Fergus 2014). Raises KeyError for a class that the head does not have.
    """
    if name not in head.classes:
        raise KeyError(name)
    stacked = np.stack([np.asarray(v, dtype=np.float32).reshape(-1) for v in (fused_full, *fused_without.values())])
    scores: F64 = head.raw_scores(stacked)[:, head.classes.index(name)].astype(np.float64)
    drops = np.maximum(scores[0] - scores[1:], 0.0)
    total = float(drops.sum())
    return dict(zip(fused_without, (drops / total if total > 0.0 else drops).tolist(), strict=True))
