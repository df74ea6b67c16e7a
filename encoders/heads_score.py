"""How well a head predicts what it has not yet learned: river's metrics and drift detector behind one small class."""

# mypy: allow-untyped-calls
# (river declares itself typed, but most of its functions carry no annotations)

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from encoders.base import F32, F64, Bools
from encoders.river_parts import river

if TYPE_CHECKING:
    from river import metrics

ERRORS_KEPT = 2_000
"""At most so many 0/1 errors are kept, and with them the drift detector's memory."""


class ScoreState(msgspec.Struct):
    """A scoreboard as plain data. ``confusion``: for each table, rows of truth by columns of prediction."""

    confusion: list[list[list[float]]]
    loss: float
    scored: int
    errors: list[bytes]
    drifts: int


class _Watch:
    """ADWIN whose memory is a list of 0/1 errors since its last start, cut to its newer half when it is full and
    replayed; so one made again from that list goes on exactly as the old one would have."""

    def __init__(self) -> None:
        self.restart(bytearray())

    def restart(self, errors: bytearray) -> None:
        self.errors = errors
        self._adwin = river().drift.ADWIN()
        for wrong in errors:
            self._adwin.update(wrong)

    def update(self, wrong: bool) -> bool:
        """Whether errors rose. ADWIN also reports that they fell, which is what learning does: that is no drift."""
        self.errors.append(wrong)
        before = self._adwin.estimation
        self._adwin.update(int(wrong))
        if self._adwin.drift_detected:
            rose = bool(self._adwin.estimation > before)
            self.restart(bytearray())
            return rose
        if len(self.errors) >= ERRORS_KEPT:
            self.restart(self.errors[-ERRORS_KEPT // 2 :])
        return False


class Scoreboard:
    """Accuracy, log-loss, macro-F1 (river) over all predictions, and ADWIN (Bifet, Gavalda 2007) over their 0/1 errors.

    In an exclusive group a prediction is one of the classes; otherwise each known label of each class is a prediction
    of yes or no, macro-F1 is the mean of F1 over classes, and each class has its own ADWIN. One that was saved and
    loaded goes on exactly as one that never was.
    """

    def __init__(self, classes: Sequence[str], exclusive: bool) -> None:
        self._classes: list[str | bool] = list(classes) if exclusive else [False, True]
        self._exclusive = exclusive
        self._tables = [river().metrics.ConfusionMatrix() for _ in range(1 if exclusive else len(classes))]
        self._loss: metrics.CrossEntropy | metrics.LogLoss = (
            river().metrics.CrossEntropy() if exclusive else river().metrics.LogLoss()
        )
        self._scored = 0
        self._drifts = 0
        self._watches = [_Watch() for _ in self._tables]

    def add_class(self, name: str) -> None:
        if self._exclusive:
            self._classes.append(name)
        else:
            self._tables.append(river().metrics.ConfusionMatrix())
            self._watches.append(_Watch())

    def update(self, p: F32, y: F64, labelled: Bools) -> tuple[int, list[int]]:
        """Scores probabilities ``p`` f32[n, K] against targets ``y`` f64[n, K] (1, 0, NaN = unknown).

        In the log-loss a class never confirmed (``labelled`` bool[K]) counts as a blind guess: its probability is 0 by
        rule, and an infinite loss would drown all others.

        Returns how many predictions were scored, and the classes whose errors rose (0 for an exclusive group as a
        whole), which should start anew.
        """
        before = self._scored
        alarms: set[int] = set()
        for truth, guess, table, p_true in self._predictions(p, y, labelled):
            self._scored += 1
            self._tables[table].update(truth, guess)
            if self._exclusive:
                self._loss.update(truth, {truth: p_true})
            else:
                self._loss.update(truth, p_true if truth else 1.0 - p_true)
            if self._watches[table].update(truth != guess):
                alarms.add(table)
                self._drifts += 1
        return self._scored - before, sorted(alarms)

    def _predictions(self, p: F32, y: F64, labelled: Bools) -> list[tuple[str | bool, str | bool, int, float]]:
        if self._exclusive:
            known = np.flatnonzero((y == 1.0).any(axis=1))
            truth, guess = (y[known] == 1.0).argmax(axis=1), p[known].argmax(axis=1)
            right = np.where(labelled[truth], p[known, truth], 1.0 / p.shape[1])
            return [
                (self._classes[t], self._classes[g], 0, q)
                for t, g, q in zip(truth.tolist(), guess.tolist(), right.tolist(), strict=True)
            ]
        rows, cols = np.nonzero(~np.isnan(y))
        yes, q = y[rows, cols] == 1.0, p[rows, cols]
        right = np.where(labelled[cols], np.where(yes, q, 1.0 - q), 0.5)
        return list(zip(yes.tolist(), (q >= 0.5).tolist(), cols.tolist(), right.tolist(), strict=True))

    def metrics(self) -> dict[str, float]:
        """``accuracy``, ``macro_f1`` and ``log_loss`` over all time, ``recent_error`` since the last change, ``scored``
        predictions, ``drifts``. Zeros before the first prediction is scored."""
        if self._exclusive:
            accuracy = river().metrics.Accuracy(cm=self._tables[0]).get()
            macro_f1 = river().metrics.MacroF1(cm=self._tables[0]).get()
        else:
            used = [table for table in self._tables if table.total_weight]
            right = sum(table[value][value] for table in used for value in self._classes)
            accuracy = right / self._scored if self._scored else 0.0
            macro_f1 = sum(river().metrics.F1(cm=table).get() for table in used) / len(used) if used else 0.0
        recent = [watch.errors for watch in self._watches]
        return {
            "accuracy": float(accuracy),
            "macro_f1": float(macro_f1),
            "log_loss": float(self._loss.get()) if self._scored else 0.0,
            "recent_error": sum(map(sum, recent)) / max(sum(map(len, recent)), 1),
            "scored": float(self._scored),
            "drifts": float(self._drifts),
        }

    def state(self) -> ScoreState:
        """Everything as plain data."""
        confusion = [[[float(t[a][b]) for b in self._classes] for a in self._classes] for t in self._tables]
        loss = float(self._loss.get()) if self._scored else 0.0
        return ScoreState(confusion, loss, self._scored, [bytes(w.errors) for w in self._watches], self._drifts)

    def restore(self, state: ScoreState) -> None:
        """Goes on from ``state``; for a fresh scoreboard of the same classes. Raises ValueError if it does not fit."""
        n = len(self._classes)
        if not len(state.confusion) == len(state.errors) == len(self._tables) or any(
            len(rows) != n or any(len(row) != n for row in rows) for rows in state.confusion
        ):
            raise ValueError("head: confusion tables do not fit the classes")
        for table, rows in zip(self._tables, state.confusion, strict=True):
            for i, j in product(range(n), repeat=2):
                if rows[i][j]:
                    table.update(self._classes[i], self._classes[j], w=rows[i][j])
        if state.scored:
            # one update of the mean log-loss with the weight of all
            p = float(np.exp(-state.loss))
            mean = self._loss
            mean.update(True, {True: p} if self._exclusive else p, w=state.scored)
        self._scored, self._drifts = state.scored, state.drifts
        for watch, errors in zip(self._watches, state.errors, strict=True):
            watch.restart(bytearray(errors))
