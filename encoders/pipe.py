"""What a worker and the process of its encoders say to each other: a head in msgpack, then arrays as bytes."""

from __future__ import annotations

from multiprocessing.connection import Connection
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from encoders.base import F32, Precision, Weights
from encoders.precision import Measured

Array = npt.NDArray[np.float32] | npt.NDArray[np.float16] | npt.NDArray[np.int64]


class Setup(msgspec.Struct, frozen=True, tag=True):
    """What the models are made of; the answer is ``Ready``."""

    text_model: str = ""
    device: str = "auto"
    threads: int = 1
    precision: Precision = "float32"
    layers: dict[str, bytes] = {}
    """The graph's weights by name, f32[128, 128] each."""


class Texts(msgspec.Struct, frozen=True, tag=True):
    """The answer is their vectors."""

    texts: list[str]


class Layer(msgspec.Struct, frozen=True, tag=True):
    """``Layers.layer``; three arrays follow: ``own``, ``followees``, ``dst``. The answer is vectors."""

    number: int


class Measure(msgspec.Struct, frozen=True, tag=True):
    """How fast and how exact each precision is here; the answer is ``Measurements``."""

    text_model: str
    device: str


class Ready(msgspec.Struct, frozen=True, tag=True):
    """Of the text model."""

    dim: int
    version: str


class Vectors(msgspec.Struct, frozen=True, tag=True):
    """One array follows, float32."""


class Measurements(msgspec.Struct, frozen=True, tag=True):
    measured: list[Measured]


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The request raised something."""

    kind: str
    why: str


Request = Setup | Texts | Layer | Measure
Answer = Ready | Vectors | Measurements | Failed
_encode: Final = msgspec.msgpack.Encoder().encode
_request: Final = msgspec.msgpack.Decoder(tuple[Request, list[tuple[str, list[int]]]]).decode
_answer: Final = msgspec.msgpack.Decoder(tuple[Answer, list[tuple[str, list[int]]]]).decode


def send(connection: Connection, head: Request | Answer, *arrays: Array) -> None:
    """Raises OSError where the other end is closed."""
    shapes = [(array.dtype.str, array.shape) for array in arrays]
    connection.send_bytes(_encode((head, shapes)))
    for array in arrays:
        connection.send_bytes(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def receive_request(connection: Connection) -> tuple[Request, list[Array]]:
    """Raises EOFError, OSError where the other end is closed."""
    head, shapes = _request(connection.recv_bytes())
    return head, _arrays(connection, shapes)


def receive_answer(connection: Connection) -> tuple[Answer, list[Array]]:
    """Raises EOFError, OSError where the other end is closed."""
    head, shapes = _answer(connection.recv_bytes())
    return head, _arrays(connection, shapes)


def _arrays(connection: Connection, shapes: list[tuple[str, list[int]]]) -> list[Array]:
    # bytearrays, because what is read-only surprises whoever gets it
    return [np.frombuffer(bytearray(connection.recv_bytes()), kind).reshape(shape) for kind, shape in shapes]


def printable(texts: list[str]) -> list[str]:
    """A lone surrogate has no UTF-8, and the encoder makes a question mark of it."""
    return [text.encode("utf-8", "replace").decode() for text in texts]


def setup_of(text_model: str, device: str, threads: int, precision: Precision, layers: Weights) -> Setup:
    """``layers``: the graph's weights by name; others are left out."""
    packed = {name: value.tobytes() for name, value in layers.items() if name.startswith("layer")}
    return Setup(text_model, device, threads, precision, packed)


def layers_of(setup: Setup, width: int) -> dict[str, F32]:
    """The graph's weights, f32[``width``, ``width``] each."""
    return {name: np.frombuffer(value, np.float32).reshape(width, width).copy() for name, value in setup.layers.items()}
