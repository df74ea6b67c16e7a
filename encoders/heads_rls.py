"""Recursive least squares over several outputs, the default head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from scipy import linalg

from encoders.base import F32, F64
from encoders.heads_base import OnlineHead
from encoders.heads_published import pack_array, unpack_array


class RlsHead(OnlineHead):
    """Least squares with a ridge, kept in information form (Sayed 2008, "Adaptive Filters", part VII).

    ``A = ridge I + sum w x x'`` and ``B = sum w x y'`` over x with a constant 1 appended, in float64; the weights
    ``A^-1 B`` are solved for by Cholesky when first needed. So the weights after any number of blocks are those of one
    fit to everything (no forgetting), and a block of labels costs about what a single one does.

    The classes of an exclusive group share one A, since a confirmed class says all of the others; where a target is
    unknown all the same, it is filled in with the present prediction, which causes no innovation and leaves that class
    alone. In an open group a label mostly speaks of one class only; filling in the others would make A grow by examples
    that taught them nothing, and they would hardly learn from their own, so there each class has its own A
    ((d + 1)^2 numbers each). On drift A and B are reset.
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
        self._a: list[F64] = [self._empty() for _ in self._owners]
        self._b: F64 = np.zeros((dim + 1, len(self.classes)))
        self._solution: F64 = np.zeros_like(self._b)
        self._stale: set[int] = set()
        self._light: F32 | None = None

    def _empty(self) -> F64:
        return self._ridge * np.eye(self.dim + 1)

    @property
    def _owners(self) -> list[list[int]]:
        """For each A, the columns of B that it belongs to."""
        every = range(len(self.classes))
        return [list(every)] if self.exclusive else [[k] for k in every]

    def options(self) -> dict[str, float]:
        return {"ridge": self._ridge, "temperature": self._start}

    def _learn(self, x: F32, y: F64, w: F64) -> None:
        wide = np.concatenate([x.astype(np.float64), np.ones((len(x), 1))], axis=1)
        if self.exclusive:
            unknown = np.isnan(y)
            if unknown.any():
                y = np.where(unknown, wide @ self._solve(), y)
            self._add(0, wide, y, w)
        else:
            for k in range(y.shape[1]):
                known = ~np.isnan(y[:, k])
                if known.any():
                    self._add(k, wide[known], y[known, k : k + 1], w[known])

    def _add(self, which: int, wide: F64, y: F64, w: F64) -> None:
        weighted = (wide * w[:, None]).T
        self._a[which] += weighted @ wide
        self._b[:, self._owners[which]] += weighted @ y
        self._stale.add(which)
        self._light = None

    def _solve(self) -> F64:
        for which in sorted(self._stale):
            columns = self._owners[which]
            self._solution[:, columns] = linalg.cho_solve((self._factor(which), True), self._b[:, columns])
        self._stale.clear()
        return self._solution

    def _factor(self, which: int) -> F64:
        return np.asarray(linalg.cholesky(self._a[which], lower=True), dtype=np.float64)

    def _weights(self) -> F32:
        if self._light is None:
            self._light = np.ascontiguousarray(self._solve().T, dtype=np.float32)
        return self._light

    def _grow(self) -> None:
        none = np.zeros((self.dim + 1, 1))
        self._b = np.concatenate([self._b, none], axis=1)
        self._solution = np.concatenate([self._solution, none], axis=1)
        if not self.exclusive:
            self._a.append(self._empty())
        self._light = None

    def _restart(self, columns: list[int]) -> bool:
        for which in [0] if self.exclusive else columns:
            self._a[which] = self._empty()
            self._stale.discard(which)
        self._b[:, columns] = self._solution[:, columns] = 0.0
        self._light = None
        return True

    def _model_state(self) -> dict[str, bytes]:
        # The weights exactly; A as its Cholesky factor in float32. Rounding then cannot make A indefinite, does not
        # touch predictions, and only alters a little how strongly later examples count.
        rows, cols = np.tril_indices(self.dim + 1)
        factors = np.stack([self._factor(which)[rows, cols] for which in range(len(self._a))])
        return {"factors": pack_array(factors, "<f4"), "weights": pack_array(self._solve(), "<f8")}

    def _restore_model(self, state: dict[str, bytes]) -> None:
        n = self.dim + 1
        rows, cols = np.tril_indices(n)
        solution = np.asarray(unpack_array(state["weights"], "<f8", n, len(self.classes)), dtype=np.float64)
        b = np.zeros_like(solution)
        factors = unpack_array(state["factors"], "<f4", len(self._a), len(rows))
        for which, (packed, columns) in enumerate(zip(factors, self._owners, strict=True)):
            factor = np.zeros((n, n))
            factor[rows, cols] = packed
            self._a[which] = factor @ factor.T
            b[:, columns] = self._a[which] @ solution[:, columns]
        self._b, self._solution, self._light = b, solution, None
        self._stale.clear()
