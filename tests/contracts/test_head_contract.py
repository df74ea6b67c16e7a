"""What every kind of learned head keeps to. A new kind inherits these tests by its row in ``HEADS``."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from river import base as river_base

from encoders.base import F32, F64, I64
from encoders.heads import HEADS, OnlineHead, PublishedHead, head_from_bytes, make_head

_CLASSES = ("food", "travel", "sport")
_DIM = 12


@pytest.fixture(params=sorted(HEADS))
def head(request: pytest.FixtureRequest) -> OnlineHead:
    return make_head(request.param, _CLASSES, _DIM)


def toy(n: int, seed: int) -> tuple[F32, F64, I64]:
    """Three separable clouds of unit vectors; their targets and classes."""
    rng = np.random.default_rng(seed)
    of = rng.integers(0, 3, n)
    x = np.eye(_DIM)[of] + 0.15 * rng.standard_normal((n, _DIM))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    return x.astype(np.float32), np.eye(3)[of], of


def learned(head: OnlineHead, n: int = 320) -> OnlineHead:
    x, y, _ = toy(n, 1)
    for start in range(0, n, 32):
        head.learn_block(x[start : start + 32], y[start : start + 32])
    return head


def assert_probabilities(p: F32) -> None:
    assert p.dtype == np.float32
    assert np.isfinite(p).all()
    assert (p >= 0.0).all()
    assert (p.sum(axis=1) <= 1.0 + 1e-5).all()


def test_has_rivers_names(head: OnlineHead) -> None:
    for name in ("learn_one", "predict_proba_one"):
        assert callable(getattr(river_base.Classifier, name))
        assert callable(getattr(head, name))
    for name in ("learn_many", "predict_proba_many"):
        assert callable(getattr(river_base.MiniBatchClassifier, name))
        assert callable(getattr(head, name))


def test_predicts_nobody_before_anything_is_learned(head: OnlineHead) -> None:
    x, _, _ = toy(5, 0)
    assert not head.predict_proba_many(x).any()
    assert head.predict_proba_one(x[0]) == dict.fromkeys(_CLASSES, 0.0)
    assert head.metrics()["accuracy"] == 0.0


def test_learns_a_separable_problem(head: OnlineHead) -> None:
    x, _, of = toy(200, 2)
    p = learned(head).predict_proba_many(x)
    assert_probabilities(p)
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-5)
    assert (p.argmax(axis=1) == of).mean() > 0.9
    assert head.metrics()["accuracy"] > 0.8
    assert head.metrics()["macro_f1"] > 0.8
    assert head.seen == 320


def test_learns_one_at_a_time_too(head: OnlineHead) -> None:
    x, _, of = toy(200, 3)
    for row, c in zip(x[:150], of[:150], strict=True):
        head.learn_one(row, {_CLASSES[c]: True})
    assert (head.predict_proba_many(x[150:]).argmax(axis=1) == of[150:]).mean() > 0.9


def test_a_batch_is_predicted_as_its_members_one_by_one(head: OnlineHead) -> None:
    x, _, _ = toy(20, 4)
    many = learned(head).predict_proba_many(x)
    for row, expected in zip(x, many, strict=True):
        one = head.predict_proba_one(row)
        assert list(one) == list(_CLASSES)
        np.testing.assert_allclose(list(one.values()), expected, atol=1e-6)


def test_a_class_never_confirmed_predicts_zero(head: OnlineHead) -> None:
    x, y, of = toy(100, 5)
    head.learn_many(x[of != 2], y[of != 2])
    p = head.predict_proba_many(x)
    assert_probabilities(p)
    assert not p[:, 2].any()
    assert (p[:, :2].max(axis=1) > 0.0).all()


def test_the_first_label_does_not_put_everybody_into_its_class(head: OnlineHead) -> None:
    x, _, of = toy(40, 6)
    head.learn_one(x[0], {"food": True})
    assert head.predict_proba_many(x[of != of[0]]).max() < 0.5


def test_each_block_is_a_version_and_learning_without_scoring_is_none(head: OnlineHead) -> None:
    x, y, _ = toy(8, 7)
    head.learn_block(x, y)
    head.learn_block(x, y)
    assert head.version == 2
    head.learn_many(x, y)
    head.learn_block(x[:0], y[:0])
    assert head.version == 2
    assert head.seen == 24


def test_round_trip_through_bytes_goes_on_where_it_stood(head: OnlineHead) -> None:
    x, y, _ = toy(64, 8)
    again = head_from_bytes(learned(head).to_bytes())
    assert type(again) is type(head)
    assert np.array_equal(again.predict_proba_many(x), head.predict_proba_many(x))
    assert again.metrics() == pytest.approx(head.metrics())
    assert (again.version, again.seen, again.classes) == (head.version, head.seen, head.classes)
    assert again.learn_block(x, y) == head.learn_block(x, y)
    np.testing.assert_allclose(again.predict_proba_many(x), head.predict_proba_many(x), atol=1e-5)


def test_the_published_part_predicts_the_same(head: OnlineHead) -> None:
    x, _, _ = toy(50, 9)
    data = learned(head).published()
    light = PublishedHead.from_bytes(data)
    assert np.array_equal(light.predict_proba_many(x), head.predict_proba_many(x))
    assert light.predict_proba_one(x[0]) == head.predict_proba_one(x[0])
    assert (light.classes, light.version, light.seen, light.exclusive) == (
        head.classes,
        head.version,
        head.seen,
        head.exclusive,
    )
    assert light.metrics() == head.metrics()
    assert light.to_bytes() == data


def test_a_class_can_be_added_while_running(head: OnlineHead) -> None:
    x, y, of = toy(60, 10)
    learned(head).add_class("politics")
    before = head.predict_proba_many(x)
    assert before.shape == (60, 4)
    assert not before[:, 3].any()
    far = np.roll(x, 6, axis=1)
    targets = np.concatenate([np.pad(y, ((0, 0), (0, 1))), np.tile([0.0, 0.0, 0.0, 1.0], (60, 1))])
    for _ in range(4):
        head.learn_block(np.concatenate([x, far]), targets)
    assert (head.predict_proba_many(far).argmax(axis=1) == 3).mean() > 0.9
    assert (head.predict_proba_many(x).argmax(axis=1) == of).mean() > 0.9
    assert head_from_bytes(head.to_bytes()).classes == head.classes


def test_what_does_not_fit_is_refused_and_changes_nothing(head: OnlineHead) -> None:
    x, y, _ = toy(4, 11)
    before = learned(head).to_bytes()
    nan_x = x.copy()
    nan_x[0, 0] = np.nan
    for bad_x, bad_y, w in (
        (x[:, 1:], y, None),
        (nan_x, y, None),
        (x, y[:, 1:], None),
        (x, y * 0.5, None),
        (x, np.ones_like(y), None),
        (x, y, -np.ones(4)),
        (x, y, np.full(4, np.nan)),
        (x, y, np.ones(3)),
    ):
        with pytest.raises(ValueError, match=r"expected|finite|targets|at most one"):
            head.learn_block(bad_x, bad_y, w)
    with pytest.raises(KeyError):
        head.learn_one(x[0], {"nowhere": True})
    with pytest.raises(ValueError, match="already"):
        head.add_class("food")
    assert head.to_bytes() == before


def test_bytes_that_are_no_head_are_refused(head: OnlineHead) -> None:
    data, light = head.to_bytes(), head.published()
    cut = msgspec.msgpack.decode(data)
    cut["model"] = {"weights": b"12345678"}
    old = msgspec.msgpack.decode(data)
    old["format"] = 99
    other = msgspec.msgpack.decode(data)
    other["kind"] = "oracle"
    for bad in (b"", b"\x80", data[:-3], light, *(msgspec.msgpack.encode(it) for it in (cut, old, other))):
        with pytest.raises(ValueError, match="head"):
            head_from_bytes(bad)
    for bad in (b"", b"\x80", light[:-3], data):
        with pytest.raises(ValueError, match="head"):
            PublishedHead.from_bytes(bad)


def test_the_same_labels_give_the_same_bytes(head: OnlineHead) -> None:
    twin = make_head(head.kind, _CLASSES, _DIM)
    assert learned(head).to_bytes() == learned(twin).to_bytes()


def test_examples_of_weight_zero_or_without_a_label_teach_nothing(head: OnlineHead) -> None:
    x, y, _ = toy(30, 12)
    learned(head)
    before, seen = head.predict_proba_many(x), head.seen
    head.learn_many(x, y, np.zeros(30))
    head.learn_many(x, np.full_like(y, np.nan))
    assert np.array_equal(head.predict_proba_many(x), before)
    assert head.seen == seen


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no head of kind"):
        make_head("oracle", _CLASSES, _DIM)
