"""What all encoders share: sizes, array types, the protocols, and the table's row.

Arrays in, arrays out: float32, one row for each user (or text). Importing this module is cheap: numpy only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

TEXT_DIM = 384
"""Numbers in the vector of one text, as the default model gives it."""
E_H = 64
"""Numbers in a user's behaviour vector."""
E_S = 128
"""Numbers in a user's neighbourhood vector."""
E_T = 192
"""Numbers in a user's text vector after projection."""
NODE_DIM = 128
"""Numbers in the graph network's input ``x`` and hidden vector ``h1``, the two that travel between users."""
FUSED = E_H + E_S + E_T
"""Numbers in the fused vector."""
RAW_DIM = 96
"""Numbers that describe behaviour before encoding."""
MODALITIES = ("behaviour", "neighbours", "text")
"""What a fused vector is made of, in the order of its blocks; also the names of evidence in a reason."""

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I64 = npt.NDArray[np.int64]
Halves = npt.NDArray[np.float16] | F32
"""float32, or float16 where that is what is stored, so that nothing is made larger on its way."""
Bools = npt.NDArray[np.bool_]
Weights = Mapping[str, F32]
Precision = Literal["float32", "int8", "bf16"]
"""What the text model computes in."""
TOLERANCE: Mapping[Precision, float] = {"float32": 1e-6, "bf16": 0.01, "int8": 0.05}
"""How far each number of a text's vector (of length 1) may be from what another kernel gives: another processor's, or
one that is chosen by the shape of a batch. Sums in another order differ in their last bits; where these decide how a
number is rounded to 8 bits, what follows differs by such a step. Measured: 3e-7, 0.003 and 0.021."""

BatchT_contra = TypeVar("BatchT_contra", contravariant=True)


class Encoder(Protocol[BatchT_contra]):
    """One kind of input to one vector each.

    ``encode`` of a batch of n items gives float32 ``[n, dim]``, finite, the same (but for rounding) for the same item
    whatever else is in the batch, and takes n = 0. ``weights`` are the trainable ones (none for a frozen model).
    """

    @property
    def dim(self) -> int: ...

    @property
    def version(self) -> str: ...

    def weights(self) -> dict[str, F32]: ...

    def encode(self, batch: BatchT_contra, /) -> F32: ...


TextEncoder = Encoder[Sequence[str]]
"""Texts to float32 ``[n, dim]`` of length 1; a text with nothing to read has the zero vector."""


class WrappedText:
    """What a text encoder that does something around another's ``encode`` has from that one."""

    def __init__(self, encoder: TextEncoder) -> None:
        self._encoder = encoder

    @property
    def dim(self) -> int:
        return self._encoder.dim

    @property
    def version(self) -> str:
        return self._encoder.version

    def weights(self) -> dict[str, F32]:
        return self._encoder.weights()


class Layers(Protocol):
    """The two layers of the graph network."""

    def layer(self, number: int, own: F32, followees: Halves, dst: I64) -> F32:
        """Layer 1 or 2 of n users f32[n, 128] and m followees [m, 128], float32 or float16; followee j is followed by
        user ``dst[j]`` (int64[m]): f32[n, 128]."""
        ...


class Served(NamedTuple):
    """What needs torch, as a process of its own gives it."""

    text: TextEncoder
    layers: Layers


@dataclass(frozen=True)
class BuildOptions:
    """What an encoder may need to be built."""

    text_model: str = ""
    device: str = "auto"
    raw_dim: int = RAW_DIM
    text_dim: int = TEXT_DIM
    text_precision: Precision = "float32"
    served: Served | None = None
    """None: what needs torch is built in this process."""


@dataclass(frozen=True)
class EncoderSpec:
    """One row of the table of encoders (``artifact.ENCODERS``).

    ``make`` builds it, with trained weights or (``None``) its sound untrained ones; ``probe`` makes n legal inputs,
    by which a new encoder inherits the contract tests. Both are ``Any`` because each row has its own kind of input.
    """

    name: str
    what: str
    make: Callable[[BuildOptions, Weights | None], Any]
    probe: Callable[[int, np.random.Generator], Sequence[Any] | F32]


def as_batch(x: npt.ArrayLike, width: int, name: str) -> F32:
    """``x`` as contiguous float32 ``[n, width]``; an empty list is ``[0, width]``.

    Raises ValueError naming ``name`` if the shape is another one or a number is not finite.
    """
    batch = np.ascontiguousarray(x, dtype=np.float32)
    if batch.size == 0 and batch.ndim == 1:
        batch = batch.reshape(0, width)
    if batch.ndim != 2 or batch.shape[1] != width:
        raise ValueError(f"{name}: expected shape [n, {width}], got {list(batch.shape)}")
    if not np.isfinite(batch).all():
        raise ValueError(f"{name}: numbers must be finite")
    return batch


def unit(x: F32, floor: float = 0.0) -> F32:
    """Each row ``[n, d]`` scaled to length 1; rows of zeros stay zero.

    With a ``floor``, rows shorter than it are divided by the floor instead, so that noise is not blown up.
    """
    length = np.sqrt(np.einsum("nd,nd->n", x, x, dtype=np.float64))
    length = np.maximum(length, floor) if floor else np.where(length > 0.0, length, 1.0)
    return (x / length[:, None]).astype(np.float32)


def orthonormal(rows: int, cols: int, seed: int) -> F32:
    """A random matrix ``[rows, cols]`` with orthonormal rows (rows <= cols) or columns (rows > cols).

    QR of a Gaussian matrix with the signs fixed (Mezzadri 2007, "How to generate random matrices from the classical
    compact groups"). Rounded to 6 decimals, so that another machine's LAPACK gives the same bits and the same version.
    """
    tall, narrow = max(rows, cols), min(rows, cols)
    q, r = np.linalg.qr(np.random.default_rng(seed).standard_normal((tall, narrow)))
    q = q * np.sign(np.diag(r))
    return np.ascontiguousarray((q if rows > cols else q.T).round(6), dtype=np.float32)


def take_weights(owner: str, defaults: Weights, given: Weights | None) -> dict[str, F32]:
    """``given``, checked against the names and shapes of ``defaults``; the defaults if None.

    Raises ValueError if a name is missing or unknown, a shape differs, or a number is not finite.
    """
    if given is None:
        return dict(defaults)
    if set(given) != set(defaults):
        raise ValueError(f"{owner}: weights are {sorted(given)}, expected {sorted(defaults)}")
    checked = {}
    for name, default in defaults.items():
        value = np.ascontiguousarray(given[name], dtype=np.float32)
        if value.shape != default.shape:
            raise ValueError(f"{owner}.{name}: shape {list(value.shape)}, expected {list(default.shape)}")
        if not np.isfinite(value).all():
            raise ValueError(f"{owner}.{name}: numbers must be finite")
        checked[name] = value
    return checked


def digest(weights: Weights, *more: str) -> str:
    """Eight hex digits that name these weights (and the strings ``more``), the same on every machine."""
    h = blake2b(digest_size=4)
    for text in more:
        h.update(text.encode() + b"\0")
    for name in sorted(weights):
        value = np.ascontiguousarray(weights[name], dtype="<f4")
        h.update(f"{name}{list(value.shape)}".encode() + value.tobytes())
    return h.hexdigest()
