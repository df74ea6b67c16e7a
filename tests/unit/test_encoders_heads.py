"""What is special to the least-squares head, to river's, and to scoring and explaining."""

# mypy: allow-untyped-calls
# (river declares itself typed, but most of its functions carry no annotations)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import linear_model, metrics, optim

from encoders.base import F32, F64, FUSED
from encoders.heads import OnlineHead, PublishedHead, RiverSoftmaxHead, RlsHead, evidence_shares, make_head
from encoders.heads_published import calibrate
from encoders.heads_score import ERRORS_KEPT, Scoreboard

_CLASSES = ("a", "b", "c")


def _stream(n: int, dim: int, seed: int, noise: float = 0.8, shift: int = 0) -> tuple[F32, F64]:
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).standard_normal((3, dim)) / np.sqrt(dim)
    of = rng.integers(0, 3, n)
    x = centres[of] + noise * rng.standard_normal((n, dim)) / np.sqrt(dim)
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32), np.eye(3)[(of + shift) % 3]


def _learn(head: RlsHead, x: F32, y: F64, block: int = 32) -> list[bool]:
    return [head.learn_block(x[i : i + block], y[i : i + block]).drift for i in range(0, len(x), block)]


@pytest.mark.parametrize("block", [1, 7, 200])
def test_rls_equals_one_weighted_ridge_fit_however_the_labels_are_cut(block: int) -> None:
    x, y = _stream(200, 10, 1)
    w = np.random.default_rng(2).random(200) + 0.1
    head = RlsHead(_CLASSES, 10, ridge=0.7)
    for i in range(0, 200, block):
        head.learn_many(x[i : i + block], y[i : i + block], w[i : i + block])
    wide = np.concatenate([x.astype(np.float64), np.ones((200, 1))], axis=1)
    fit = np.linalg.solve(wide.T * w @ wide + 0.7 * np.eye(11), wide.T * w @ y)
    np.testing.assert_allclose(head.raw_scores(x), wide @ fit, atol=1e-5)


def test_an_unknown_target_leaves_its_class_alone() -> None:
    x, y = _stream(100, 10, 3)
    head = RlsHead(_CLASSES, 10, exclusive=False)
    head.learn_many(x[:50], y[:50])
    before = head.raw_scores(x)
    targets = y[50:].copy()
    targets[:, 1] = np.nan
    head.learn_many(x[50:], targets)
    after = head.raw_scores(x)
    np.testing.assert_allclose(after[:, 1], before[:, 1], atol=1e-5)
    assert np.abs(after[:, 0] - before[:, 0]).max() > 0.01


def test_in_an_exclusive_group_one_yes_is_a_no_for_the_others_and_a_no_says_nothing_more() -> None:
    x, _ = _stream(1, 10, 4)
    yes, told, no = RlsHead(_CLASSES, 10), RlsHead(_CLASSES, 10), RlsHead(_CLASSES, 10)
    for head in (yes, told, no):
        head.learn_many(*_stream(60, 10, 5))
    yes.learn_one(x[0], {"b": True})
    told.learn_one(x[0], {"a": False, "b": True, "c": False})
    before = no.raw_scores(x)
    no.learn_one(x[0], {"b": False})
    assert np.array_equal(yes.raw_scores(x), told.raw_scores(x))
    after = no.raw_scores(x)
    assert after[0, 1] < before[0, 1]
    np.testing.assert_allclose(after[0, [0, 2]], before[0, [0, 2]], atol=1e-6)


def test_classes_of_an_open_group_stand_for_themselves() -> None:
    rng = np.random.default_rng(6)
    x = rng.standard_normal((600, 8)).astype(np.float32) / np.float32(np.sqrt(8))
    y = (x[:, :3] > 0).astype(np.float64)
    hidden = np.where(rng.random(y.shape) < 0.5, np.nan, y)
    head: OnlineHead = RlsHead(_CLASSES, 8, exclusive=False)
    for i in range(0, 500, 32):
        head.learn_block(x[i : min(i + 32, 500)], hidden[i : min(i + 32, 500)])
    p = head.predict_proba_many(x[500:])
    assert ((p > 0.5) == (y[500:] == 1)).mean() > 0.9
    measured = head.metrics()
    assert measured["scored"] == np.isfinite(hidden[:500]).sum()
    assert measured["accuracy"] > 0.85
    assert measured["macro_f1"] > 0.85
    again = RlsHead.from_bytes(head.to_bytes())
    assert again.metrics() == pytest.approx(measured)
    again.add_class("d")
    assert RlsHead.from_bytes(again.to_bytes()).metrics() == again.metrics()


def test_labels_of_one_class_do_not_slow_down_another() -> None:
    """Each row speaks of one class of ten; each class learns as if the other rows were not there."""
    rng = np.random.default_rng(17)
    names = [f"s{k}" for k in range(10)]
    x = (rng.standard_normal((600, 16)) / 4).astype(np.float32)
    y = np.full((600, 10), np.nan)
    of = rng.integers(0, 10, 600)
    y[np.arange(600), of] = x[np.arange(600), of] > 0
    together = RlsHead(names, 16, exclusive=False)
    for i in range(0, 600, 50):
        together.learn_many(x[i : i + 50], y[i : i + 50])
    for k, name in enumerate(names):
        alone = RlsHead([name], 16, exclusive=False)
        alone.learn_many(x[of == k], y[of == k, k : k + 1])
        np.testing.assert_allclose(together.raw_scores(x)[:, k], alone.raw_scores(x)[:, 0], atol=1e-5)


def test_in_an_open_group_only_the_class_that_changed_starts_anew() -> None:
    rng = np.random.default_rng(18)
    x = (rng.standard_normal((1600, 8)) / np.sqrt(8)).astype(np.float32)
    y = (x[:, :3] > 0).astype(np.float64)
    y[800:, 1] = 1.0 - y[800:, 1]
    head = RlsHead(_CLASSES, 8, exclusive=False)
    starts = [i for i in range(0, 1600, 25) if head.learn_block(x[i : i + 25], y[i : i + 25]).drift]
    assert len(starts) == 1
    assert 800 < starts[0] < 1100
    never = RlsHead(_CLASSES, 8, exclusive=False)
    never.learn_many(x, y)
    np.testing.assert_allclose(head.raw_scores(x)[:, [0, 2]], never.raw_scores(x)[:, [0, 2]], atol=1e-5)
    assert ((head.predict_proba_many(x[1400:])[:, 1] > 0.5) == (y[1400:, 1] == 1)).mean() > 0.85


def test_predictions_survive_many_saves() -> None:
    x, y = _stream(800, 40, 7)
    stays, saved = RlsHead(_CLASSES, 40), RlsHead(_CLASSES, 40)
    for i in range(0, 800, 16):
        stays.learn_block(x[i : i + 16], y[i : i + 16])
        saved.learn_block(x[i : i + 16], y[i : i + 16])
        loaded = RlsHead.from_bytes(saved.to_bytes())
        assert np.array_equal(loaded.predict_proba_many(x[:8]), saved.predict_proba_many(x[:8]))
        saved = loaded
    np.testing.assert_allclose(saved.predict_proba_many(x), stays.predict_proba_many(x), atol=1e-4)
    assert saved.metrics() == pytest.approx(stays.metrics(), abs=1e-4)


def test_a_saved_head_stays_usable_with_features_that_never_occur_and_heavy_weights() -> None:
    x, y = _stream(64, 30, 8)
    x[:, 10:] = 0.0
    head = RlsHead(_CLASSES, 30)
    for _ in range(20):
        head.learn_many(x, y, np.full(64, 1e6))
        head = RlsHead.from_bytes(head.to_bytes())
    assert np.isfinite(head.predict_proba_many(x)).all()


def test_a_head_starts_anew_when_the_world_changes_and_only_then() -> None:
    head = RlsHead(_CLASSES, 20)
    assert not any(_learn(head, *_stream(1200, 20, 9)))
    x, y = _stream(800, 20, 10, shift=1)
    assert sum(_learn(head, x, y)) == 1
    assert (head.predict_proba_many(x[-200:]).argmax(axis=1) == y[-200:].argmax(axis=1)).mean() > 0.85
    assert head.metrics()["drifts"] == 1.0


def test_a_saved_head_sees_drift_at_the_same_block() -> None:
    (x_old, y_old), (x_new, y_new) = _stream(2600, 12, 11), _stream(600, 12, 12, shift=1)
    x, y = np.concatenate([x_old, x_new]), np.concatenate([y_old, y_new])
    stays, saved = RlsHead(_CLASSES, 12), RlsHead(_CLASSES, 12)
    alarms = 0
    for i in range(0, len(x), 50):
        one = stays.learn_block(x[i : i + 50], y[i : i + 50])
        assert saved.learn_block(x[i : i + 50], y[i : i + 50]) == one
        saved = RlsHead.from_bytes(saved.to_bytes())
        alarms += one.drift
    assert alarms == 1


def test_the_temperature_learns_to_be_as_sure_as_it_is_right() -> None:
    x, y = _stream(4000, 20, 13, noise=1.6)
    losses = []
    for start in (1 / 60, 0.125, 1.5):
        head = RlsHead(_CLASSES, 20, temperature=start)
        _learn(head, x, y)
        p = head.predict_proba_many(x[-1000:])
        losses.append(float(-np.log((p * y[-1000:]).sum(axis=1)).mean()))
        confidence = p.max(axis=1).mean()
        assert abs(confidence - (p.argmax(axis=1) == y[-1000:].argmax(axis=1)).mean()) < 0.05
    assert max(losses) - min(losses) < 0.02


def test_the_scoreboard_says_what_rivers_metrics_say() -> None:
    rng = np.random.default_rng(14)
    p = rng.dirichlet(np.ones(3), 150).astype(np.float32)
    y = np.eye(3)[rng.integers(0, 3, 150)]
    board = Scoreboard(_CLASSES, exclusive=True)
    for i in range(0, 150, 30):
        board.update(p[i : i + 30], y[i : i + 30], np.ones(3, np.bool_))
    accuracy, macro_f1, loss = metrics.Accuracy(), metrics.MacroF1(), metrics.CrossEntropy()
    for row, truth in zip(p.tolist(), y.argmax(axis=1).tolist(), strict=True):
        proba = dict(zip(_CLASSES, row, strict=True))
        accuracy.update(_CLASSES[truth], max(proba, key=lambda c: proba[c]))
        macro_f1.update(_CLASSES[truth], max(proba, key=lambda c: proba[c]))
        loss.update(_CLASSES[truth], proba)
    said = board.metrics()
    assert said["accuracy"] == pytest.approx(accuracy.get())
    assert said["macro_f1"] == pytest.approx(macro_f1.get())
    assert said["log_loss"] == pytest.approx(loss.get())


@pytest.mark.parametrize(("exclusive", "blind"), [(True, 1 / 3), (False, 1 / 2)])
def test_a_class_not_yet_known_counts_as_a_blind_guess_in_the_log_loss(exclusive: bool, blind: float) -> None:
    head = RlsHead(_CLASSES, 4, exclusive=exclusive)
    head.learn_block(np.eye(4, dtype=np.float32)[:1], [[1.0, 0.0, 0.0]])
    assert head.metrics()["log_loss"] == pytest.approx(-np.log(blind))


@given(st.lists(st.sampled_from([(0.05, 200), (0.5, 150), (0.9, 100), (0.0, 700)]), max_size=8), st.integers(0, 99))
@settings(deadline=None, max_examples=15)
def test_a_scoreboard_that_was_saved_alarms_as_one_that_was_not(phases: list[tuple[float, int]], seed: int) -> None:
    rng, sure = np.random.default_rng(seed), np.ones(1, np.bool_)
    stays, saved = (Scoreboard(("x",), exclusive=False) for _ in range(2))
    for rate, count in phases:
        for wrong in np.array_split(rng.random(count) < rate, 4):
            p = np.where(wrong, 0.2, 0.8).astype(np.float32)[:, None]
            y = np.ones((len(wrong), 1))
            assert stays.update(p, y, sure) == saved.update(p, y, sure)
            loaded = Scoreboard(("x",), exclusive=False)
            loaded.restore(saved.state())
            saved = loaded
    assert len(stays.state().errors) < ERRORS_KEPT
    assert saved.state().errors == stays.state().errors


def test_rivers_softmax_is_river_to_the_bit_of_a_float() -> None:
    x, y = _stream(120, 6, 15)
    head = make_head("softmax", _CLASSES, 6, rate=0.3)
    head.learn_many(x, y)
    model = linear_model.SoftmaxRegression(optimizer=optim.SGD(0.3))
    for name in _CLASSES:
        model.weights[name]  # river then knows the class, as the head does from the start
    for row, truth in zip(x.tolist(), y.argmax(axis=1).tolist(), strict=True):
        model.learn_one(dict(enumerate([*row, 1.0])), _CLASSES[truth])
    for row, p in zip(x.tolist(), head.predict_proba_many(x), strict=True):
        expected = model.predict_proba_one(dict(enumerate([*row, 1.0])))
        np.testing.assert_allclose(p, [expected[c] for c in _CLASSES], atol=1e-5)


def test_rivers_softmax_is_for_exclusive_groups() -> None:
    with pytest.raises(ValueError, match="exclusive"):
        RiverSoftmaxHead(_CLASSES, 4, exclusive=False)


@given(
    st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=3, max_size=3), max_size=4),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.floats(1 / 64, 2.0),
    st.booleans(),
)
@settings(deadline=None)
def test_calibration_gives_probabilities(
    scores: list[list[float]], labelled: list[bool], temperature: float, exclusive: bool
) -> None:
    mask = np.array(labelled)
    p = calibrate(np.array(scores, np.float32).reshape(-1, 3), mask, temperature, exclusive)
    assert np.isfinite(p).all()
    assert ((p >= 0.0) & (p <= 1.0)).all()
    assert not p[:, ~mask].any()
    if exclusive:
        assert (p.sum(axis=1) <= 1.0 + 1e-6).all()


def test_evidence_is_the_share_of_the_drop() -> None:
    weights = np.zeros((2, 4), np.float32)
    weights[1] = [3.0, 1.0, -2.0, 0.5]
    head = PublishedHead(("x", "y"), weights, np.ones(2, np.bool_), temperature=0.1, exclusive=True)
    full = np.ones(3, np.float32)
    without = {
        name: np.where(np.arange(3) == i, 0.0, full) for i, name in enumerate(("behaviour", "neighbours", "text"))
    }
    assert evidence_shares(head, "y", full, without) == pytest.approx(
        {"behaviour": 0.75, "neighbours": 0.25, "text": 0.0}
    )
    assert evidence_shares(head, "x", full, without) == dict.fromkeys(without, 0.0)
    with pytest.raises(KeyError):
        evidence_shares(head, "z", full, without)


@pytest.mark.parametrize(
    ("classes", "dim", "options"), [((), 4, {}), (("a", "a"), 4, {}), (("a",), 0, {}), (("a",), 4, {"ridge": 0.0})]
)
def test_a_head_that_makes_no_sense_is_refused(classes: tuple[str, ...], dim: int, options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"class|vectors|ridge"):
        make_head("rls", classes, dim, True, **options)


def test_a_full_size_head_fits_into_a_message() -> None:
    rng = np.random.default_rng(16)
    head = RlsHead([f"s{i}" for i in range(12)], FUSED)
    x = rng.standard_normal((96, FUSED)).astype(np.float32)
    head.learn_block(x, np.eye(12)[rng.integers(0, 12, 96)])
    assert len(head.to_bytes()) < 600_000
    assert len(head.published()) < 20_000
