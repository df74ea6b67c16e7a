"""Behaviour: decayed counts, seconds and money to one vector."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from encoders.base import E_H, F32, RAW_DIM, Weights, as_batch, digest, orthonormal, take_weights, unit

_SEED = 11


class BehaviourEncoder:
    """``unit(W log(1 + raw))``: one dense layer over damped counts.

    Untrained, the rows of ``W`` are orthonormal: a random projection keeps angles between users (Johnson-Lindenstrauss)
    without favouring any feature. A user who did nothing (all zeros) has the zero vector.
    """

    def __init__(self, raw_dim: int = RAW_DIM, weights: Weights | None = None) -> None:
        self.raw_dim = raw_dim
        self._weights = take_weights("behaviour", {"weight": orthonormal(E_H, raw_dim, _SEED)}, weights)

    @property
    def dim(self) -> int:
        return E_H

    @property
    def version(self) -> str:
        return f"behaviour-{digest(self._weights)}"

    def weights(self) -> dict[str, F32]:
        """``weight`` f32[64, raw_dim]."""
        return dict(self._weights)

    def encode(self, raw: npt.ArrayLike) -> F32:
        """``raw`` f32[n, raw_dim], non-negative, to f32[n, 64] of length 1 (or 0).

        Raises ValueError for another shape, or numbers that are negative or not finite.
        """
        x = as_batch(raw, self.raw_dim, "behaviour")
        if (x < 0.0).any():
            raise ValueError("behaviour: counts, seconds and amounts must not be negative")
        return unit(np.log1p(x) @ self._weights["weight"].T)
