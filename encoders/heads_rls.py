"""Recursive least squares over several outputs, the default head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch

from encoders.base import F32, F64
from encoders.heads_base import OnlineHead
from encoders.heads_published import pack_array, unpack_array


class RlsHead(OnlineHead):
    """Least squares with a ridge, kept in information form (Sayed 2008, "Adaptive Filters", part VII).

    ``A = ridge I + sum w x x'`` and ``B = sum w x y'`` over x with a constant 1 appended, in float64; the weights
    ``A^-1 B`` are solved for by Cholesky when first needed. So the weights after any number of blocks are those of one
    fit to everything (no forgetting), and a block of labels costs about what a single one does.

    An unknown target is filled in with the present prediction: it causes no innovation and leaves that class alone.
    On drift A and B are reset.
    """

    kind: ClassVar[str] = "rls"
    _caution: ClassVar[float] = 8.0

    def __init__(
        self, classes: Sequence[str], dim: int, exclusive: bool = True, ridge: float = 1.0, temperature: float = 0.125
    ) -> None:
        super().__init__(classes, dim, exclusive, temperature)
        if not ridge > 0.0:
            raise ValueError("ridge must be positive")
        self._ridge, self._start = ridge, temperature
        self._clear()

    def _clear(self) -> None:
        self._a: F64 = self._ridge * np.eye(self.dim + 1)
        self._b: F64 = np.zeros((self.dim + 1, len(self.classes)))
        self._solution: F64 | None = np.zeros_like(self._b)
        self._light: F32 | None = None

    def options(self) -> dict[str, float]:
        return {"ridge": self._ridge, "temperature": self._start}

    def _learn(self, x: F32, y: F64, w: F64) -> None:
        wide = np.concatenate([x.astype(np.float64), np.ones((len(x), 1))], axis=1)
        unknown = np.isnan(y)
        if unknown.any():
            y = np.where(unknown, wide @ self._solve(), y)
        weighted = (wide * w[:, None]).T
        self._a += weighted @ wide
        self._b += weighted @ y
        self._solution = self._light = None

    def _solve(self) -> F64:
        if self._solution is None:
            solved = torch.cholesky_solve(torch.from_numpy(self._b), torch.from_numpy(self._factor()))
            self._solution = np.asarray(solved.numpy(), dtype=np.float64)
        return self._solution

    def _factor(self) -> F64:
        return np.asarray(torch.linalg.cholesky(torch.from_numpy(self._a)).numpy(), dtype=np.float64)

    def _weights(self) -> F32:
        if self._light is None:
            self._light = np.ascontiguousarray(self._solve().T, dtype=np.float32)
        return self._light

    def _grow(self) -> None:
        self._b = np.concatenate([self._b, np.zeros((self.dim + 1, 1))], axis=1)
        self._solution = self._light = None

    def _restart(self) -> bool:
        self._clear()
        return True

    def _model_state(self) -> dict[str, bytes]:
        # The weights exactly; A as its Cholesky factor in float32. Rounding then cannot make A indefinite, does not
        # touch predictions, and only alters a little how strongly later examples count.
        rows, cols = np.tril_indices(self.dim + 1)
        return {"factor": pack_array(self._factor()[rows, cols], "<f4"), "weights": pack_array(self._solve(), "<f8")}

    def _restore_model(self, state: dict[str, bytes]) -> None:
        n = self.dim + 1
        rows, cols = np.tril_indices(n)
        factor = np.zeros((n, n))
        factor[rows, cols] = unpack_array(state["factor"], "<f4", len(rows))
        self._a = factor @ factor.T
        self._solution = np.asarray(unpack_array(state["weights"], "<f8", n, len(self.classes)), dtype=np.float64)
        self._b = self._a @ self._solution
        self._light = None
