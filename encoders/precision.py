"""What the text model should compute in on this machine: measured on a few texts, each time the same ones.

int8 is no candidate: on real comments its vectors come as far from float32's as a cosine of 0.992 (docs/adr/0020),
which two dozen texts need not show.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from encoders.base import Precision, TextEncoder

log = logging.getLogger(__name__)

#: the least that any text's vector may have to the one in float32
LEAST_COSINE: Final = 0.999
#: so many times as fast it has to be, or float32 stays: less may be chance
WORTH_IT: Final = 1.1
CANDIDATES: Final[tuple[Precision, ...]] = ("bf16",)
_ROUNDS = 2
#: a candidate whose first round takes so many times what float32 takes is not looked at any longer
_HOPELESS = 3.0

_SENTENCES: Final = (
    "The soup was cold and the waiter never came back.",
    "Does anybody know a quiet place for dinner near the old harbour?",
    "I ran ten kilometres this morning, and my knees have not forgiven me yet.",
    "Why would you ever use a monad for reading a file?",
    "Cheap flights, cheap hotels, and a beach so crowded that you cannot see the sand.",
    "My daughter has read the whole series twice and asks when the next volume comes out.",
    "You need to normalise the state vector first; otherwise the probabilities do not add up to one.",
    "great phone, terrible battery!!!",
    "We moved house in the spring, so the garden is still nothing but mud and good intentions.",
    "Parliament votes on the budget on Thursday, whatever the committee says.",
    "Ich suche ein gebrauchtes Fahrrad, möglichst mit Licht.",
    "https://example.org/a?b=1 does not work for me, error 404 since yesterday",
)


def _texts() -> list[str]:
    """Short ones, and some as long as comments and reviews are."""
    sentences = [*_SENTENCES, *_SENTENCES]
    threes = [" ".join(sentences[at : at + 3]) for at in range(8)]
    sevens = [" ".join(sentences[at : at + 7]) for at in range(0, 12, 3)]
    return [*_SENTENCES, *threes, *sevens]


TEXTS: Final = _texts()


class Measured(msgspec.Struct, frozen=True):
    """One precision on this machine."""

    precision: Precision
    seconds: float
    """For ``TEXTS``; the least of some rounds."""
    cosine: float
    """The least of all ``TEXTS`` to the vector in float32."""


@dataclass(frozen=True)
class Choice:
    """What to take, and why, in words."""

    precision: Precision
    why: str


def choose(measured: Sequence[Measured]) -> Choice:
    """The fastest that keeps the cosine; float32, which is the first, unless another is clearly faster."""
    first, *others = measured
    best = first
    told = []
    for each in others:
        faster = first.seconds / each.seconds if each.seconds > 0.0 else 0.0
        told.append(f"{each.precision} is {faster:.1f} times as fast as float32 at a cosine of {each.cosine:.4f}")
        # a cosine that is no number keeps nothing
        if each.cosine >= LEAST_COSINE and faster >= WORTH_IT and each.seconds < best.seconds:
            best = each
    return Choice(best.precision, "; ".join(told) or "nothing else is for this machine")


def measure(make: Callable[[Precision], TextEncoder], clock: Callable[[], float]) -> list[Measured]:
    """float32 and each candidate, in turns, so that a slower moment of the machine is everybody's.

    ``make``: an encoder that remembers no vectors. Raises whatever float32's does.
    """
    plain = make("float32")
    exact = plain.encode(TEXTS)  # the first round of each is slower: kernels are made, weights put in order
    base = min(_timed(plain, clock) for _ in range(_ROUNDS))
    found = []
    for precision in CANDIDATES:
        try:
            encoder = make(precision)
            vectors = encoder.encode(TEXTS)
            seconds = _timed(encoder, clock)
        except Exception as error:  # whatever the libraries raise for what a device has not
            log.warning("text precision: %s is not for this machine: %s", precision, error)
            continue
        if seconds < _HOPELESS * base:
            for _ in range(_ROUNDS - 1):
                base = min(base, _timed(plain, clock))
                seconds = min(seconds, _timed(encoder, clock))
        found.append(Measured(precision, seconds, float(np.einsum("nd,nd->n", exact, vectors).min())))
    return [Measured("float32", base, 1.0), *found]


def _timed(encoder: TextEncoder, clock: Callable[[], float]) -> float:
    begun = clock()
    encoder.encode(TEXTS)
    return clock() - begun
