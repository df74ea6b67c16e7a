"""River's own heads behind the interface of ours."""

# mypy: allow-untyped-calls
# (river declares itself typed, but most of its functions carry no annotations)

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from encoders.base import F32, F64
from encoders.heads_base import OnlineHead
from encoders.heads_published import pack_array, unpack_array
from encoders.river_parts import river


class RiverSoftmaxHead(OnlineHead):
    """``river.linear_model.SoftmaxRegression`` by plain gradient descent, for exclusive groups only.

    It learns confirmed classes; an example that only denies classes teaches it nothing, and a weight other than 0
    counts as 1. On drift it goes on, as gradient descent forgets by itself. Features are numbered, the bias last.
    """

    kind: ClassVar[str] = "softmax"

    def __init__(
        self, classes: Sequence[str], dim: int, exclusive: bool = True, rate: float = 0.5, temperature: float = 1.0
    ) -> None:
        super().__init__(classes, dim, exclusive, temperature)
        if not exclusive:
            raise ValueError("a softmax head is for exclusive groups")
        self._rate, self._start = rate, temperature
        self._model = river().linear_model.SoftmaxRegression(optimizer=river().optim.SGD(rate))
        self._light: F32 | None = None
        self._set(np.zeros((len(self.classes), dim + 1)))

    def _set(self, weights: F64) -> None:
        for name, row in zip(self.classes, weights, strict=True):
            self._model.weights[name] = defaultdict(float, enumerate(row.tolist()))
        self._light = None

    def options(self) -> dict[str, float]:
        return {"rate": self._rate, "temperature": self._start}

    def _learn(self, x: F32, y: F64, w: F64) -> None:
        for row, target in zip(x.tolist(), y, strict=True):
            if (target == 1.0).any():
                self._model.learn_one(dict(enumerate([*row, 1.0])), self.classes[int(np.nanargmax(target))])
        self._light = None

    def _dense(self) -> F64:
        return np.array([[self._model.weights[name].get(i, 0.0) for i in range(self.dim + 1)] for name in self.classes])

    def _weights(self) -> F32:
        if self._light is None:
            self._light = self._dense().astype(np.float32)
        return self._light

    def _grow(self) -> None:
        self._model.weights[self.classes[-1]] = defaultdict(float)
        self._light = None

    def _model_state(self) -> dict[str, bytes]:
        return {"weights": pack_array(self._dense(), "<f8")}

    def _restore_model(self, state: dict[str, bytes]) -> None:
        shape = (len(self.classes), self.dim + 1)
        self._set(np.asarray(unpack_array(state["weights"], "<f8", *shape), dtype=np.float64))
