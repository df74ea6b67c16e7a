"""A user's vectors: written by the encode lane only, in a record of their own, so that a click stays small."""

from __future__ import annotations

import msgspec
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

#: half-life in seconds of a comment's weight in the mean text vector
TEXT_HALF_LIFE = 30 * 86_400.0
#: numbers of stored vectors are within one (unit length, or a tanh); larger ones were not made by an encoder
MOST = 4.0


class Vectors(msgspec.Struct, array_like=True):
    """Vectors as float16 bytes; empty = absent. New fields go to the end and have defaults."""

    text_sum: bytes = b""
    """float32[text dim]: decayed sum of text vectors as it stands at ``text_time``."""
    text_time: float = 0.0
    behaviour: bytes = b""
    text: bytes = b""
    social: bytes = b""
    node: bytes = b""
    """GNN layer-0 input x of this user."""
    hidden: bytes = b""
    """GNN layer-1 output h1 of this user."""
    sent_node: bytes = b""
    sent_hidden: bytes = b""
    """What subscribers were last sent."""
    version: int = 0
    """Of what was last sent: grows by one each time."""
    subscribers: list[int] = []
    """Partitions that asked for this user's vectors."""
    encoder: str = ""
    encoded_time: float = 0.0


class Neighbour(msgspec.Struct, array_like=True):
    """A partition's one copy of a followed user's vectors, for all its local followers."""

    followers: int = 0
    version: int = 0
    node: bytes = b""
    hidden: bytes = b""


def pack(vector: Array) -> bytes:
    """float32 → float16 bytes."""
    return vector.astype(np.float16).tobytes()


def unpack(data: bytes, dim: int) -> Array:
    """float16 bytes → float32[dim]; absent → zeros."""
    if not data:
        return np.zeros(dim, dtype=np.float32)
    return np.frombuffer(data, dtype=np.float16).astype(np.float32)


def is_packed(data: bytes, dim: int) -> bool:
    """Whether ``data`` holds ``dim`` float16 numbers such as encoders make (no NaN, nothing huge)."""
    return len(data) == 2 * dim and bool((np.abs(np.frombuffer(data, dtype=np.float16)) <= MOST).all())


def add_text(vectors: Vectors, vector: Array, time: float) -> Array:
    """Add one text's vector at ``time`` to the decayed sum; returns the unit mean direction (zeros if none)."""
    total = np.frombuffer(vectors.text_sum, dtype=np.float32).copy() if vectors.text_sum else np.zeros_like(vector)
    ahead = time - vectors.text_time
    if not vectors.text_sum:
        total, vectors.text_time = vector.astype(np.float32), time
    elif ahead >= 0.0:
        total = total * np.float32(2.0 ** (-ahead / TEXT_HALF_LIFE)) + vector
        vectors.text_time = time
    else:
        total = total + vector * np.float32(2.0 ** (ahead / TEXT_HALF_LIFE))
    vectors.text_sum = total.astype(np.float32).tobytes()
    return unit(total)


def text_direction(vectors: Vectors, dim: int) -> Array:
    """The unit direction of the decayed mean text vector, float32[dim]; zeros when the user wrote nothing."""
    if not vectors.text_sum:
        return np.zeros(dim, dtype=np.float32)
    return unit(text_sum(vectors))


def text_sum(vectors: Vectors) -> Array:
    """The decayed sum of text vectors at ``text_time``, float32[text dim]."""
    return np.frombuffer(vectors.text_sum, dtype=np.float32)


def unit(vector: Array) -> Array:
    """The vector with length one (zeros stay zeros)."""
    length = float(np.linalg.norm(vector))
    return (vector / np.float32(length)).astype(np.float32) if length > 0.0 else vector.astype(np.float32)
