"""Neighbourhood: a two-layer GraphSAGE (mean) over whom a user follows.

Hamilton, Ying, Leskovec 2017, "Inductive Representation Learning on Large Graphs". Here

    h1  = tanh(R1 x_self  + N1 mean(x of followees))
    e_s =      R2 h1_self + N2 mean(h1 of followees)

so a user needs the ``x`` and the ``h1`` of the people followed and nothing else, wherever they live.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from encoders.base import (
    E_H,
    E_S,
    E_T,
    F32,
    I64,
    NODE_DIM,
    Halves,
    Layers,
    Weights,
    as_batch,
    digest,
    orthonormal,
    take_weights,
    unit,
)

_SEED = 31


class Ego(NamedTuple):
    """One user and the people followed: ``h1_self`` f32[128], ``h1_followees`` f32[k, 128]."""

    h1_self: F32
    h1_followees: F32


class SocialEncoder:
    """GraphSAGE in the form for one layer at a time and for a whole graph; ``Layers`` do the computing.

    Untrained weights are random orthogonal matrices: layer 1 weighs the user and the followees alike (both 1/sqrt 2);
    layer 2 is linear and dominated by the followees (0.96 against 0.28), since the user's own behaviour and text are in
    the fused vector anyway. Without bias and with tanh the map is odd, and each layer is Lipschitz by ``lipschitz()``.
    The ``e_s`` of a user who follows nobody says nothing of neighbours: the caller flags it absent.
    """

    def __init__(self, weights: Weights | None = None, layers: Layers | None = None, device: str = "auto") -> None:
        """``layers`` None: computed in this process, which imports torch, on ``device``. Else they have the weights of
        ``graph_weights(weights)``."""
        self._weights = graph_weights(weights)
        self._layers = layers or _layers_here(self._weights, device)

    @property
    def dim(self) -> int:
        return E_S

    @property
    def version(self) -> str:
        return f"social-{digest(self._weights)}"

    def weights(self) -> dict[str, F32]:
        """``node`` f32[128, 256]; ``layer1.root``, ``layer1.neighbours``, ``layer2.root``, ``layer2.neighbours``
        f32[128, 128]."""
        return dict(self._weights)

    def node_input(self, e_h: npt.ArrayLike, e_t: npt.ArrayLike) -> F32:
        """Behaviour f32[n, 64] and text f32[n, 192] (zero where unknown) to the layer input x f32[n, 128] of length 1;
        both unknown is the zero vector."""
        both = np.concatenate([as_batch(e_h, E_H, "e_h"), as_batch(e_t, E_T, "e_t")], axis=1)
        return unit(both @ self._weights["node"].T)

    def layer1(self, x_self: npt.ArrayLike, x_followees: npt.ArrayLike, dst: npt.ArrayLike) -> F32:
        """x of n users f32[n, 128] and of m followees [m, 128], float32 or float16, to h1 f32[n, 128].

        ``dst`` int64[m]: followee j is followed by user ``dst[j]``. Raises ValueError if it points elsewhere.
        """
        return np.tanh(self._layer(1, x_self, x_followees, dst))

    def layer2(self, h1_self: npt.ArrayLike, h1_followees: npt.ArrayLike, dst: npt.ArrayLike) -> F32:
        """h1 of n users f32[n, 128] and of m followees to e_s f32[n, 128]; all as in ``layer1``."""
        return self._layer(2, h1_self, h1_followees, dst)

    def encode(self, egos: Sequence[Ego]) -> F32:
        """``layer2`` for a list of users, each with the own followees: f32[n, 128]."""
        if not egos:
            return np.zeros((0, E_S), np.float32)
        dst = np.repeat(np.arange(len(egos)), [len(ego.h1_followees) for ego in egos])
        return self.layer2(
            np.stack([ego.h1_self for ego in egos]), np.concatenate([ego.h1_followees for ego in egos]), dst
        )

    def full(self, x: npt.ArrayLike, edge_index: npt.ArrayLike) -> tuple[F32, F32]:
        """(h1, e_s), both f32[N, 128], of a whole graph in one go: the reference for the incremental form.

        ``x`` f32[N, 128]; ``edge_index`` int64[2, E], each column (u, v) means *u follows v*: u aggregates over v, so
        information flows from row 1 to row 0. A column given twice counts twice.
        """
        nodes = as_batch(x, NODE_DIM, "x")
        follower, followee = np.asarray(edge_index, dtype=np.int64).reshape(2, -1)
        if followee.size and not 0 <= followee.min() <= followee.max() < len(nodes):
            raise ValueError(f"edge_index: users must be in 0..{len(nodes) - 1}")
        h1 = self.layer1(nodes, nodes[followee], follower)
        return h1, self.layer2(h1, h1[followee], follower)

    def lipschitz(self) -> tuple[float, float, float, float]:
        """Spectral norms (layer 1 self, layer 1 followees, layer 2 self, layer 2 followees).

        If every followee's vector moved by at most d (2-norm), the layer's output moves by at most the norm times d:
        a mean moves no further than its furthest member, and tanh moves no further than its argument.
        """
        w = self._weights
        norms = [float(np.linalg.norm(w[f"{n}.{part}"], 2)) for n in ("layer1", "layer2") for part in _PARTS]
        return norms[0], norms[1], norms[2], norms[3]

    def _layer(self, number: int, own: npt.ArrayLike, followees: npt.ArrayLike, dst: npt.ArrayLike) -> F32:
        x_self, x_followees = as_batch(own, NODE_DIM, "users"), _as_stored(followees)
        to: I64 = np.asarray(dst, dtype=np.int64)
        n, m = len(x_self), len(x_followees)
        if to.shape != (m,) or (m and not 0 <= to.min() <= to.max() < n):
            raise ValueError(f"dst: expected {m} indices in 0..{n - 1}")
        if not n:
            return np.zeros((0, E_S), np.float32)
        return self._layers.layer(number, x_self, x_followees, to)


def _as_stored(followees: npt.ArrayLike) -> Halves:
    """As they are if they are float16[m, 128], which halves what goes to another process; else as ``as_batch``."""
    if isinstance(followees, np.ndarray) and followees.dtype == np.float16 and followees.shape[1:] == (NODE_DIM,):
        return np.ascontiguousarray(followees)
    return as_batch(followees, NODE_DIM, "followees")


def _layers_here(weights: Weights, device: str) -> Layers:
    from encoders.sage import SageLayers  # noqa: PLC0415 - torch takes seconds, and a worker must not have it

    return SageLayers(weights, device)


def graph_weights(given: Weights | None = None) -> dict[str, F32]:
    """``given``, checked, or the untrained ones; see ``SocialEncoder.weights``. Raises ValueError."""
    return take_weights("social", _defaults(), given)


_PARTS = ("root", "neighbours")


def _defaults() -> dict[str, F32]:
    node = np.zeros((NODE_DIM, E_H + E_T), np.float32)
    # a quarter of the numbers for behaviour, three for text, as in the vectors they come from
    split = NODE_DIM * E_H // (E_H + E_T)
    node[:split, :E_H] = orthonormal(split, E_H, _SEED)
    node[split:, E_H:] = orthonormal(NODE_DIM - split, E_T, _SEED + 1)
    half = np.float32(np.sqrt(0.5))
    return {
        "node": node,
        "layer1.root": half * orthonormal(NODE_DIM, NODE_DIM, _SEED + 2),
        "layer1.neighbours": half * orthonormal(NODE_DIM, NODE_DIM, _SEED + 3),
        "layer2.root": np.float32(0.28) * orthonormal(E_S, NODE_DIM, _SEED + 4),
        "layer2.neighbours": np.float32(0.96) * orthonormal(E_S, NODE_DIM, _SEED + 5),
    }
