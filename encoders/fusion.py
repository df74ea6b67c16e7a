"""Fusion of behaviour, neighbours and text into the one vector that segments see."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from encoders.base import E_H, E_S, E_T, F32, FUSED, MODALITIES, Bools, Weights, as_batch, digest, take_weights, unit

_BLOCKS = (E_H, E_S, E_T)
_FLOOR = 0.1


class Fusion:
    """``F = unit(2 sigma(W_f [E_h; E_s; E_t] + b_f) - 1)`` over the modalities that are present.

    The sigmoid is centred (2 sigma - 1), and the bias is kept in one part for each modality: a missing modality adds
    neither its columns of ``W_f`` nor its part of the bias, so it is left out of the sum rather than entered as
    zero, and with nothing present F is zero. Each present block is first scaled to length 1 (those shorter than 0.1,
    such as the mean of neighbours who cancel out, are only multiplied by 10), so that none drowns the others.

    Untrained, ``W_f`` is twice the identity: F is close to the blocks side by side, and nothing is lost.
    """

    def __init__(self, weights: Weights | None = None) -> None:
        defaults = {
            "weight": 2.0 * np.eye(FUSED, dtype=np.float32),
            "bias": np.zeros((len(MODALITIES), FUSED), np.float32),
        }
        self._weights = take_weights("fusion", defaults, weights)

    @property
    def dim(self) -> int:
        return FUSED

    @property
    def version(self) -> str:
        return f"fusion-{digest(self._weights)}"

    def weights(self) -> dict[str, F32]:
        """``weight`` f32[384, 384], its columns in the order behaviour, neighbours, text; ``bias`` f32[3, 384]."""
        return dict(self._weights)

    def fuse(self, e_h: npt.ArrayLike, e_s: npt.ArrayLike, e_t: npt.ArrayLike, present: npt.ArrayLike) -> F32:
        """f32[n, 64], f32[n, 128], f32[n, 192] and bool[n, 3] (same order) to f32[n, 384] of length 1 (or 0).

        Rows of a missing modality may hold anything. Raises ValueError for other shapes, or numbers that are not
        finite in a present row.
        """
        here: Bools = np.asarray(present, dtype=np.bool_)
        if here.size == 0:
            here = here.reshape(0, len(MODALITIES))
        blocks = []
        for i, (given, width) in enumerate(zip((e_h, e_s, e_t), _BLOCKS, strict=True)):
            block = np.asarray(given, dtype=np.float32)
            if here.shape != (len(block), len(MODALITIES)):
                raise ValueError(f"present: expected shape [{len(block)}, 3], got {list(here.shape)}")
            masked = np.where(here[:, i, None], block, np.float32(0.0)) if block.size else block
            blocks.append(unit(as_batch(masked, width, MODALITIES[i]), _FLOOR))
        z = np.concatenate(blocks, axis=1) @ self._weights["weight"].T + here.astype(np.float32) @ self._weights["bias"]
        return unit(np.tanh(z / 2.0))  # 2 sigma(z) - 1 = tanh(z / 2)

    def without(
        self, e_h: npt.ArrayLike, e_s: npt.ArrayLike, e_t: npt.ArrayLike, present: npt.ArrayLike
    ) -> dict[str, F32]:
        """The fused vectors f32[n, 384] with one modality left out, by its name: what ``evidence_shares`` compares."""
        here: Bools = np.asarray(present, dtype=np.bool_)
        return {
            name: self.fuse(e_h, e_s, e_t, here & (np.arange(len(MODALITIES)) != i))
            for i, name in enumerate(MODALITIES)
        }
