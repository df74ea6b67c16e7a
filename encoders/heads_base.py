"""What every learned head shares: targets, prequential scoring, calibration, drift, bytes.

The names are river's (``learn_one``, ``learn_many``, ``predict_proba_one``); features come as arrays instead of dicts.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar, NamedTuple, Self

import msgspec
import numpy as np
import numpy.typing as npt

from encoders.base import F32, F64, Bools, as_batch
from encoders.heads_published import (
    FORMAT,
    PublishedHead,
    calibrate,
    first_format,
    pack_array,
    raw_scores,
    unpack_array,
)
from encoders.heads_score import Scoreboard, ScoreState

_RECENT = 64
"""Examples kept to start anew from when drift is found; in an open group for each of up to 8 classes."""
_RATE = 0.01
_MAX_STEP = 0.2
_LOG_RANGE = (float(np.log(1 / 64)), float(np.log(2.0)))


class BlockReport(NamedTuple):
    """What ``learn_block`` did: examples learned, predictions scored, whether the head started anew."""

    examples: int
    scored: int
    drift: bool


class _State(msgspec.Struct, frozen=True):
    format: int
    kind: str
    classes: list[str]
    dim: int
    exclusive: bool
    options: dict[str, float]
    temperature: float
    seen: int
    version: int
    labelled: list[bool]
    score: ScoreState
    recent: tuple[bytes, bytes, bytes]
    model: dict[str, bytes]


class OnlineHead(ABC):
    """Learns K classes (segment ids) from vectors of ``dim`` numbers, one at a time or in blocks.

    ``exclusive``: at most one class is true of a user; else each class stands for itself. Targets are 1, 0 or NaN
    (unknown). In an exclusive group a 1 sets the unknown others to 0. A class never confirmed predicts 0.
    A subclass says how to learn, and gives its weights; prediction is one matrix product and the calibration of
    ``heads_published.calibrate``, so a published head predicts the same.
    """

    kind: ClassVar[str]
    _caution: ClassVar[float] = 0.0
    """Examples until which the temperature of an exclusive group is at least doubled."""

    def __init__(self, classes: Sequence[str], dim: int, exclusive: bool, temperature: float) -> None:
        if not classes or len(set(classes)) != len(classes):
            raise ValueError(f"a head needs classes, each named once; got {list(classes)}")
        if dim < 1:
            raise ValueError("a head needs vectors of at least one number")
        self._classes = list(classes)
        self._dim, self._exclusive, self._temperature = dim, exclusive, temperature
        self._labelled: Bools = np.zeros(len(classes), np.bool_)
        self._seen = 0
        self._version = 0
        self._score = Scoreboard(classes, exclusive)
        self._recent: tuple[F32, F64, F64] = (np.zeros((0, dim), np.float32), np.zeros((0, len(classes))), np.zeros(0))

    # What a subclass gives.

    @abstractmethod
    def options(self) -> dict[str, float]:
        """The keyword arguments that make a head like this one."""

    @abstractmethod
    def _learn(self, x: F32, y: F64, w: F64) -> None:
        """Learns checked examples; ``y`` f64[n, K] still with NaN where unknown."""

    @abstractmethod
    def _weights(self) -> F32:
        """Weights f32[K, d + 1], the last column the bias."""

    @abstractmethod
    def _grow(self) -> None:
        """Makes room for one more class, at the end, that scores 0."""

    def _restart(self, columns: list[int]) -> bool:
        """Forgets these classes (all of an exclusive group), because the world has changed; False if the head adapts
        without that."""
        return False

    @abstractmethod
    def _model_state(self) -> dict[str, bytes]:
        """What was learned, as named bytes."""

    @abstractmethod
    def _restore_model(self, state: dict[str, bytes]) -> None:
        """The inverse of ``_model_state``; raises ValueError or KeyError if the bytes do not fit."""

    # What callers see.

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self._classes)

    @property
    def dim(self) -> int:
        return self._dim

    @property
    def exclusive(self) -> bool:
        return self._exclusive

    @property
    def temperature(self) -> float:
        """Scores are divided by it before softmax or sigmoid: a learned number between 1/64 and 2, and in an exclusive
        group more while the head has seen few examples, so that the first ones do not make it sure of everybody."""
        return self._temperature * (1.0 + self._caution / max(self._seen, 1) if self._exclusive else 1.0)

    @property
    def seen(self) -> int:
        """Examples learned so far."""
        return self._seen

    @property
    def version(self) -> int:
        """Blocks learned so far."""
        return self._version

    def add_class(self, name: str) -> None:
        """One more class at the end of ``classes``; raises ValueError if it is there already."""
        if name in self._classes:
            raise ValueError(f"the head already has the class {name!r}")
        self._classes.append(name)
        self._labelled = np.append(self._labelled, False)
        x, y, w = self._recent
        self._recent = (x, np.concatenate([y, np.full((len(y), 1), np.nan)], axis=1), w)
        self._score.add_class(name)
        self._grow()

    def learn_one(self, x: npt.ArrayLike, y: Mapping[str, bool], w: float = 1.0) -> None:
        """One example: ``x`` f32[d]; ``y`` says of some classes whether they are true. KeyError for unknown classes."""
        row = np.full((1, len(self._classes)), np.nan)
        for name, member in y.items():
            if name not in self._classes:
                raise KeyError(name)
            row[0, self._classes.index(name)] = member
        self.learn_many(np.asarray(x, dtype=np.float32)[None], row, np.array([w]))

    def learn_many(self, x: npt.ArrayLike, y: npt.ArrayLike, w: npt.ArrayLike | None = None) -> None:
        """Learns ``x`` f32[n, d], targets ``y`` f32[n, K] (1, 0, NaN), weights ``w`` f32[n] (default 1).

        Raises ValueError for other shapes or values, before anything is learned.
        """
        self._absorb(*self._check(x, y, w))

    def learn_block(self, x: npt.ArrayLike, y: npt.ArrayLike, w: npt.ArrayLike | None = None) -> BlockReport:
        """Predicts, scores the predictions, then learns (prequential; Gama et al. 2013); arguments as ``learn_many``.

        The scores move metrics, temperature and drift detector. On drift, the group (or in an open one, the class)
        starts anew from the most recent examples. A block that is not empty makes a new version.
        """
        batch, targets, weights = self._check(x, y, w)
        if not len(batch):
            return BlockReport(0, 0, False)
        counted = weights > 0.0
        scores, known = self.raw_scores(batch)[counted], targets[counted]
        p = calibrate(scores, self._labelled, self.temperature, self._exclusive)
        scored, drifted = self._score.update(p, known, self._labelled)
        self._tune(scores, p, known)
        self._absorb(batch, targets, weights)
        if self._exclusive and drifted:
            drifted = list(range(len(self._classes)))
        restarted = bool(drifted) and self._restart(drifted)
        if restarted:
            x_recent, y_recent, w_recent = self._recent
            again = np.full_like(y_recent, np.nan)
            again[:, drifted] = y_recent[:, drifted]
            self._learn(x_recent, again, w_recent)
        self._version += 1
        return BlockReport(len(batch), scored, restarted)

    def raw_scores(self, x: npt.ArrayLike) -> F32:
        """f32[n, d] to uncalibrated scores f32[n, K]."""
        return raw_scores(self._weights(), x)

    def predict_proba_many(self, x: npt.ArrayLike) -> F32:
        """f32[n, d] to probabilities f32[n, K], in the order of ``classes``."""
        return calibrate(self.raw_scores(x), self._labelled, self.temperature, self._exclusive)

    def predict_proba_one(self, x: npt.ArrayLike) -> dict[str, float]:
        """f32[d] to the probability of each class."""
        row = self.predict_proba_many(np.asarray(x, dtype=np.float32)[None])[0]
        return dict(zip(self._classes, row.tolist(), strict=True))

    def metrics(self) -> dict[str, float]:
        """See ``Scoreboard.metrics``; and ``seen``, ``temperature``."""
        return self._score.metrics() | {"seen": float(self._seen), "temperature": self.temperature}

    def published(self) -> bytes:
        """The light part, for ``PublishedHead.from_bytes``."""
        return PublishedHead(
            self._classes,
            self._weights(),
            self._labelled,
            temperature=self.temperature,
            exclusive=self._exclusive,
            version=self._version,
            seen=self._seen,
            metrics=self.metrics(),
        ).to_bytes()

    def to_bytes(self) -> bytes:
        """Everything, as msgpack; no pickle. What is loaded from it goes on learning where this one stands."""
        x, y, w = self._recent
        return msgspec.msgpack.encode(
            _State(
                FORMAT,
                self.kind,
                self._classes,
                self._dim,
                self._exclusive,
                self.options(),
                self._temperature,
                self._seen,
                self._version,
                self._labelled.tolist(),
                self._score.state(),
                (pack_array(x, "<f4"), pack_array(y, "<f4"), pack_array(w, "<f8")),
                self._model_state(),
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of ``to_bytes``. Raises ValueError if the bytes are not a head of this kind and format."""
        state = _decode(data)
        if state.kind != cls.kind:
            raise ValueError(f"a head of kind {state.kind!r}, expected {cls.kind!r}")
        head = cls(state.classes, state.dim, exclusive=state.exclusive, **state.options)
        k = len(state.classes)
        if len(state.labelled) != k:
            raise ValueError("head: labelled does not fit the classes")
        head._temperature, head._seen, head._version = state.temperature, state.seen, state.version
        head._labelled = np.array(state.labelled, dtype=np.bool_)
        head._score.restore(state.score)
        x, y, w = state.recent
        w_recent = np.asarray(unpack_array(w, "<f8", len(w) // 8), dtype=np.float64)
        n = len(w_recent)
        head._recent = (
            np.asarray(unpack_array(x, "<f4", n, state.dim), dtype=np.float32),
            np.asarray(unpack_array(y, "<f4", n, k), dtype=np.float64),
            w_recent,
        )
        try:
            head._restore_model(state.model)
        except KeyError as e:
            raise ValueError(f"head: {e} is missing") from e
        return head

    def _check(self, x: npt.ArrayLike, y: npt.ArrayLike, w: npt.ArrayLike | None) -> tuple[F32, F64, F64]:
        batch = as_batch(x, self._dim, "x")
        targets = np.array(y, dtype=np.float64)
        if targets.size == 0:
            targets = targets.reshape(0, len(self._classes))
        if targets.shape != (len(batch), len(self._classes)):
            raise ValueError(f"y: expected shape [{len(batch)}, {len(self._classes)}], got {list(targets.shape)}")
        if not (np.isnan(targets) | (targets == 0.0) | (targets == 1.0)).all():
            raise ValueError("y: targets are 1, 0 or NaN")
        if self._exclusive:
            positive = targets == 1.0
            if (positive.sum(axis=1) > 1).any():
                raise ValueError("y: in an exclusive group at most one class is true")
            targets = np.where(np.isnan(targets) & positive.any(axis=1, keepdims=True), 0.0, targets)
        weights = np.ones(len(batch)) if w is None else np.asarray(w, dtype=np.float64)
        if weights.shape != (len(batch),) or not (np.isfinite(weights) & (weights >= 0.0)).all():
            raise ValueError(f"w: expected {len(batch)} finite numbers, none negative")
        return batch, targets, weights

    def _absorb(self, x: F32, y: F64, w: F64) -> None:
        used = (w > 0.0) & ~np.isnan(y).all(axis=1)
        if not used.any():
            return
        x, y, w = x[used], y[used], w[used]
        self._learn(x, y, w)
        self._labelled = self._labelled | (y == 1.0).any(axis=0)
        self._seen += len(x)
        old_x, old_y, old_w = self._recent
        keep = _RECENT * (1 if self._exclusive else min(len(self._classes), 8))
        self._recent = (
            np.concatenate([old_x, x])[-keep:],
            np.concatenate([old_y, y])[-keep:],
            np.concatenate([old_w, w])[-keep:],
        )

    def _tune(self, scores: F32, p: F32, y: F64) -> None:
        """Gradient steps of log-loss in the logarithm of the temperature, on predictions made before learning."""
        z = (scores.astype(np.float64) - (0.0 if self._exclusive else 0.5)) / self.temperature
        known = ~np.isnan(y) & self._labelled
        if self._exclusive:
            known &= ((y == 1.0) & self._labelled).any(axis=1, keepdims=True)
        # d loss / d z = p - y, and d z / d log T = -z
        gradient = float(np.where(known, (np.where(known, y, 0.0) - p) * z, 0.0).sum())
        step = min(max(_RATE * gradient, -_MAX_STEP), _MAX_STEP)
        self._temperature = float(np.exp(np.clip(np.log(self._temperature) - step, *_LOG_RANGE)))


def kind_of(data: bytes) -> str:
    """The kind of the head that these bytes hold; raises ValueError if they hold none."""
    return _decode(data).kind


def _decode(data: bytes) -> _State:
    if (found := first_format(data)) != FORMAT:
        raise ValueError(f"head of format {found}; this code reads {FORMAT}")
    try:
        return msgspec.msgpack.decode(data, type=_State)
    except msgspec.MsgspecError as e:
        raise ValueError(f"not a head: {e}") from e
