"""A user's mean text vector in its narrower form."""

from __future__ import annotations

import numpy.typing as npt

from encoders.base import E_T, F32, TEXT_DIM, Weights, as_batch, digest, orthonormal, take_weights, unit

_SEED = 21


class TextProjection:
    """``unit(W v)``: a user's mean text vector to the 192 numbers that fusion and the graph take.

    Untrained, ``W`` has orthonormal rows, which keep angles (Johnson-Lindenstrauss).
    """

    def __init__(self, text_dim: int = TEXT_DIM, weights: Weights | None = None) -> None:
        self.text_dim = text_dim
        self._weights = take_weights("text_projection", {"weight": orthonormal(E_T, text_dim, _SEED)}, weights)

    @property
    def dim(self) -> int:
        return E_T

    @property
    def version(self) -> str:
        return f"text-projection-{digest(self._weights)}"

    def weights(self) -> dict[str, F32]:
        """``weight`` f32[192, text_dim]."""
        return dict(self._weights)

    def encode(self, vectors: npt.ArrayLike) -> F32:
        """f32[n, text_dim] of any length to f32[n, 192] of length 1; zero stays zero.

        Raises ValueError for another shape or numbers that are not finite.
        """
        return unit(as_batch(vectors, self.text_dim, "text vectors") @ self._weights["weight"].T)
