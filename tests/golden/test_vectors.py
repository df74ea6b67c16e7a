"""Vectors and heads as torch computed them in a worker (ADR 0045): whoever computes them now, they are the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from encoders.base import F32, F64
from encoders.heads import head_from_bytes, make_head
from encoders.heads_rls import RlsHead
from encoders.social import SocialEncoder

GOLDEN: dict[str, Any] = json.loads((Path(__file__).parent / "vectors_1.json").read_text())
#: of each number, from another processor's kernels as well
CLOSE = 1e-6


def wave(*shape: int, step: float) -> F32:
    """The same numbers everywhere."""
    values: F32 = np.sin(np.arange(np.prod(shape)) * step).reshape(shape).astype(np.float32)
    return values


def learned(exclusive: bool) -> RlsHead:
    """After four blocks, stored and read again after each."""
    head = make_head("rls", ["a", "b", "c"], 24, exclusive)
    for block in range(4):
        y = np.eye(3)[np.arange(20) * 7 % 3]
        if not exclusive:
            y[::2, 1] = np.nan
        head.learn_block(wave(20, 24, step=0.13 + block), y)
        head = head_from_bytes(head.to_bytes())
    assert isinstance(head, RlsHead)
    return head


def test_the_graphs_layers_give_what_they_gave() -> None:
    social = SocialEncoder(device="cpu")
    own, near, to = wave(5, 128, step=0.37), wave(9, 128, step=0.71), [0, 0, 0, 1, 3, 3, 4, 4, 4]
    hidden = social.layer1(own, near, to)
    found = {"hidden": hidden, "social": social.layer2(hidden, near, to)}
    assert social.version == GOLDEN["social_version"]
    for name, vectors in found.items():
        np.testing.assert_allclose(vectors[:, :6], GOLDEN[name], atol=CLOSE, rtol=0)
        # of 128 numbers
        sums = vectors.sum(axis=1, dtype=np.float64)
        np.testing.assert_allclose(sums, GOLDEN[f"{name}_sums"], atol=128 * CLOSE, rtol=0)


@pytest.mark.parametrize("exclusive", [True, False], ids=["exclusive", "open"])
def test_heads_learn_and_predict_what_they_did(exclusive: bool) -> None:
    head, name = learned(exclusive), "rls_exclusive" if exclusive else "rls_open"
    np.testing.assert_allclose(head._solve()[:6], GOLDEN[name], atol=CLOSE, rtol=0)
    predicted = head.predict_proba_many(wave(4, 24, step=0.9))
    np.testing.assert_allclose(predicted, GOLDEN[f"{name}_p"], atol=CLOSE, rtol=0)


def test_a_heads_weights_are_those_of_torch() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((600, 384)).astype(np.float32) / 20, np.eye(6)[rng.integers(0, 6, 600)]
    head = make_head("rls", list("abcdef"), 384)
    head.learn_many(x, y)
    assert isinstance(head, RlsHead)
    wide: F64 = np.concatenate([x.astype(np.float64), np.ones((600, 1))], axis=1)
    factor = torch.linalg.cholesky(torch.from_numpy(np.eye(385) + wide.T @ wide))
    expected = torch.cholesky_solve(torch.from_numpy(wide.T @ y), factor).numpy()
    np.testing.assert_allclose(head._solve(), expected, atol=1e-12, rtol=0)
