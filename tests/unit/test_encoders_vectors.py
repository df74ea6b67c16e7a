"""Behaviour, neighbourhood, fusion, and the file and bundle that hold them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from encoders.artifact import ENCODERS, Encoders, load_artifact, load_encoders, save_artifact
from encoders.base import (
    E_H,
    E_S,
    E_T,
    F32,
    FUSED,
    MODALITIES,
    NODE_DIM,
    RAW_DIM,
    TEXT_DIM,
    as_batch,
    orthonormal,
    unit,
)
from encoders.behaviour import BehaviourEncoder
from encoders.device import choose_device
from encoders.fusion import Fusion
from encoders.social import SocialEncoder


def _parts(n: int, seed: int = 0) -> tuple[F32, F32, F32]:
    rng = np.random.default_rng(seed)
    e_h, e_s, e_t = (unit(rng.standard_normal((n, d)).astype(np.float32)) for d in (E_H, E_S, E_T))
    return e_h, e_s, e_t


def test_sizes_fit_together() -> None:
    assert (TEXT_DIM, E_H, E_S, E_T, NODE_DIM, FUSED) == (384, 64, 128, 192, 128, 384)
    assert len(MODALITIES) == 3


def test_base_imports_neither_torch_nor_transformers_nor_river() -> None:
    code = "import sys, encoders.base; print(sorted({'torch', 'transformers', 'river'} & set(sys.modules)))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_auto_is_the_gpu_if_there_is_one() -> None:
    assert choose_device("auto") == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cuda:3") == "cuda:3"


@pytest.mark.parametrize("bad", [np.zeros(4), np.zeros((2, 3)), np.array([[1, 2, 3, np.inf]]), [[np.nan] * 4]])
def test_a_batch_of_another_shape_or_not_finite_is_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="thing"):
        as_batch(bad, 4, "thing")  # type: ignore[arg-type] # one of them is a plain list


@pytest.mark.parametrize(("rows", "cols"), [(5, 9), (9, 5), (6, 6)])
def test_orthonormal_is_orthonormal(rows: int, cols: int) -> None:
    q = orthonormal(rows, cols, 1)
    assert q.shape == (rows, cols)
    gram = q @ q.T if rows <= cols else q.T @ q
    np.testing.assert_allclose(gram, np.eye(min(rows, cols)), atol=1e-5)
    assert not np.allclose(q, orthonormal(rows, cols, 2))


def test_behaviour_of_nobody_is_zero_and_of_others_has_length_one() -> None:
    raw = np.zeros((3, RAW_DIM), np.float32)
    raw[1, 5], raw[2] = 1e-3, 1e9
    np.testing.assert_allclose(np.linalg.norm(BehaviourEncoder().encode(raw), axis=1), [0, 1, 1], atol=1e-5)


def test_behaviour_keeps_who_is_like_whom() -> None:
    rng = np.random.default_rng(0)
    base = rng.exponential(3.0, (2, RAW_DIM)) * (rng.random((2, RAW_DIM)) < 0.2)
    v = BehaviourEncoder().encode(np.stack([base[0], base[0] * 1.3, base[1]]))
    assert v[0] @ v[1] > 0.95
    assert v[0] @ v[1] > v[0] @ v[2] + 0.3


def test_behaviour_refuses_negative_numbers_and_takes_another_width() -> None:
    with pytest.raises(ValueError, match="negative"):
        BehaviourEncoder().encode(-np.ones((1, RAW_DIM)))
    assert BehaviourEncoder(200).encode(np.ones((2, 200))).shape == (2, E_H)


def test_node_input_has_length_one_and_keeps_both_sides() -> None:
    social = SocialEncoder(device="cpu")
    e_h, _, e_t = _parts(4)
    e_h[1], e_t[2] = 0, 0
    e_h[3] = e_t[3] = 0
    x = social.node_input(e_h, e_t)
    assert x.shape == (4, NODE_DIM)
    np.testing.assert_allclose(np.linalg.norm(x, axis=1), [1, 1, 1, 0], atol=1e-5)
    assert abs(x[1] @ x[2]) < 1e-6


def test_who_follows_nobody_is_made_of_the_own_vector_and_neighbours_dominate_otherwise() -> None:
    social = SocialEncoder(device="cpu")
    rng = np.random.default_rng(1)
    h1 = unit(rng.standard_normal((6, NODE_DIM)).astype(np.float32))
    alone = social.layer2(h1[:1], h1[:0], [])
    np.testing.assert_allclose(alone, h1[:1] @ social.weights()["layer2.root"].T, atol=1e-6)
    near = social.layer2(h1[:2], np.repeat(h1[2:3], 2, axis=0), [0, 1])
    assert near[0] @ near[1] / np.linalg.norm(near[0]) / np.linalg.norm(near[1]) > 0.8


def test_information_flows_from_the_followed_to_the_follower() -> None:
    social = SocialEncoder(device="cpu")
    x = unit(np.random.default_rng(2).standard_normal((2, NODE_DIM)).astype(np.float32))
    changed = x.copy()
    changed[1] *= -1
    follows = np.array([[0], [1]])  # 0 follows 1
    h1, _ = social.full(x, follows)
    h1_changed, _ = social.full(changed, follows)
    assert not np.allclose(h1[0], h1_changed[0])
    own, _ = social.full(x, follows[::-1])
    other = x.copy()
    other[1] *= -1
    assert np.array_equal(own[0], social.full(other, follows[::-1])[0][0])


def test_untrained_layers_do_not_stretch() -> None:
    np.testing.assert_allclose(SocialEncoder(device="cpu").lipschitz(), [0.5**0.5, 0.5**0.5, 0.28, 0.96], atol=1e-4)


def test_edges_to_nowhere_are_refused() -> None:
    social, x = SocialEncoder(device="cpu"), np.zeros((2, NODE_DIM), np.float32)
    for dst in ([2], [-1], [0, 0]):
        with pytest.raises(ValueError, match="dst"):
            social.layer1(x, x[:1], dst)
    for edge in ([[0], [2]], [[0], [-1]], [[5], [0]]):
        with pytest.raises(ValueError, match=r"edge_index|dst"):
            social.full(x, edge)


def test_fusion_is_the_formula() -> None:
    rng = np.random.default_rng(3)
    weights = {
        "weight": rng.standard_normal((FUSED, FUSED)).astype(np.float32),
        "bias": rng.standard_normal((3, FUSED)).astype(np.float32),
    }
    e_h, e_s, e_t = _parts(5)
    z = np.concatenate([e_h, e_s, e_t], axis=1) @ weights["weight"].T + weights["bias"].sum(axis=0)
    centred = 2.0 / (1.0 + np.exp(-z)) - 1.0
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    np.testing.assert_allclose(Fusion(weights).fuse(e_h, e_s, e_t, np.ones((5, 3), bool)), expected, atol=1e-5)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), min_size=1, max_size=5), st.integers(0, 9))
@settings(deadline=None, max_examples=40)
def test_a_missing_modality_leaves_no_trace(masks: list[tuple[bool, bool, bool]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    trained = Fusion(
        {
            "weight": rng.standard_normal((FUSED, FUSED)).astype(np.float32),
            "bias": rng.standard_normal((3, FUSED)).astype(np.float32),
        }
    )
    present = np.array(masks)
    parts = _parts(len(masks), seed)
    r_h, r_s, r_t = _parts(len(masks), seed)
    for i, block in enumerate((r_h, r_s, r_t)):
        block[~present[:, i]] = np.nan
    for fusion in (Fusion(), trained):
        fused = fusion.fuse(r_h, r_s, r_t, present)
        assert np.array_equal(fused, fusion.fuse(*parts, present))
        np.testing.assert_allclose(np.linalg.norm(fused, axis=1), present.any(axis=1), atol=1e-5)


def test_untrained_fusion_loses_nothing_and_leaves_a_missing_block_zero() -> None:
    e_h, e_s, e_t = _parts(3)
    present = np.array([[1, 1, 1], [1, 0, 1], [0, 0, 0]], bool)
    fused = Fusion().fuse(e_h, e_s, e_t, present)
    start = 0
    for i, block in enumerate((e_h, e_s, e_t)):
        part = fused[:, start : start + block.shape[1]]
        for row in range(3):
            if present[row, i]:
                assert part[row] @ block[row] / np.linalg.norm(part[row]) > 0.99
            else:
                assert not part[row].any()
        start += block.shape[1]


def test_without_leaves_one_modality_out() -> None:
    parts, present = _parts(2), np.array([[1, 1, 1], [1, 0, 1]], bool)
    without = Fusion().without(*parts, present)
    assert list(without) == list(MODALITIES)
    assert not without["behaviour"][:, :E_H].any()
    assert np.array_equal(without["neighbours"][1], Fusion().fuse(*parts, present)[1])


def test_fusion_takes_an_empty_batch_and_refuses_what_does_not_fit() -> None:
    parts = _parts(0)
    assert Fusion().fuse(*parts, np.zeros((0, 3), bool)).shape == (0, FUSED)
    e_h, e_s, e_t = _parts(2)
    with pytest.raises(ValueError, match="present"):
        Fusion().fuse(e_h, e_s, e_t, np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="neighbours"):
        Fusion().fuse(e_h, e_t, e_s, np.ones((2, 3), bool))
    e_t[0, 0] = np.inf
    with pytest.raises(ValueError, match="finite"):
        Fusion().fuse(e_h, e_s, e_t, np.ones((2, 3), bool))


@pytest.fixture(scope="module")
def encoders() -> Encoders:
    return load_encoders(device="cpu")


def test_everything_loads_without_an_artifact(encoders: Encoders) -> None:
    assert len(encoders.version) == 8
    assert encoders.version == load_encoders(device="cpu").version
    assert torch.get_num_threads() == 1
    assert {spec.name for spec in ENCODERS} == {"text", "text_projection", "behaviour", "social"}


def test_an_artifact_brings_back_weights_and_card(encoders: Encoders, tmp_path: Path) -> None:
    path, card = tmp_path / "encoders.safetensors", {"data": "a town", "metrics": {"accuracy": 0.5}}
    save_artifact(path, encoders.weights(), card)
    weights, read = load_artifact(path)
    assert read == card
    assert weights.keys() == encoders.weights().keys()
    assert load_encoders(artifact=path, device="cpu").version == encoders.version
    assert list(tmp_path.iterdir()) == [path]


def test_trained_weights_are_used_and_make_another_version(encoders: Encoders, tmp_path: Path) -> None:
    path = tmp_path / "encoders.safetensors"
    bias = np.ones((3, FUSED), np.float32)
    save_artifact(path, {"fusion.weight": encoders.fusion.weights()["weight"], "fusion.bias": bias}, {})
    trained = load_encoders(artifact=path, device="cpu")
    assert trained.version != encoders.version
    assert np.array_equal(trained.fusion.weights()["bias"], bias)
    assert trained.social.version == encoders.social.version


def test_a_file_that_is_no_artifact_or_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no encoder artifact"):
        load_encoders(artifact=tmp_path / "missing", device="cpu")
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"rubbish" * 10)
    foreign = tmp_path / "foreign"
    save_file({"x": np.zeros(3, np.float32)}, foreign)
    for path in (rubbish, foreign):
        with pytest.raises(ValueError, match="not an encoder artifact"):
            load_artifact(path)
    unknown = tmp_path / "unknown"
    save_artifact(unknown, {"smell.weight": np.zeros(3, np.float32)}, {})
    with pytest.raises(ValueError, match="smell"):
        load_encoders(artifact=unknown, device="cpu")
    partial = tmp_path / "partial"
    save_artifact(partial, {"fusion.bias": np.zeros((3, FUSED), np.float32)}, {})
    with pytest.raises(ValueError, match="fusion"):
        load_encoders(artifact=partial, device="cpu")
