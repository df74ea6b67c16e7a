"""What every row of the table of encoders keeps to. A new encoder inherits these tests by its row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from encoders.artifact import ENCODERS
from encoders.base import F32, TOLERANCE, BuildOptions, EncoderSpec, Precision, Weights


def _make_in(spec: EncoderSpec, precision: Precision, options: BuildOptions, weights: Weights | None) -> Any:
    return spec.make(replace(options, text_precision=precision), weights)


_OPTIONS = BuildOptions(device="cpu")
_OTHERS: tuple[Precision, ...] = ("int8", "bf16")
_ROWS = [pytest.param(spec, id=spec.name) for spec in ENCODERS] + [
    pytest.param(replace(spec, make=partial(_make_in, spec, precision)), id=f"{spec.name}-{precision}")
    for spec in ENCODERS
    if spec.name == "text"
    for precision in _OTHERS
]


@pytest.fixture(scope="module", params=_ROWS)
def row(request: pytest.FixtureRequest, exact_int8: None) -> tuple[EncoderSpec, Any]:
    spec: EncoderSpec = request.param
    return spec, spec.make(_OPTIONS, None)


def _pick(batch: Sequence[Any] | F32, rows: Sequence[int]) -> Any:
    return batch[np.array(rows, dtype=np.int64)] if isinstance(batch, np.ndarray) else [batch[i] for i in rows]


def test_gives_one_finite_float32_vector_for_each_item(row: tuple[EncoderSpec, Any]) -> None:
    spec, encoder = row
    vectors = encoder.encode(spec.probe(7, np.random.default_rng(0)))
    assert vectors.shape == (7, encoder.dim)
    assert vectors.dtype == np.float32
    assert np.isfinite(vectors).all()


def test_is_deterministic_across_calls_and_instances(row: tuple[EncoderSpec, Any]) -> None:
    spec, encoder = row
    batch = spec.probe(5, np.random.default_rng(1))
    first = encoder.encode(batch)
    again = spec.make(_OPTIONS, None)
    assert np.array_equal(first, encoder.encode(batch))
    assert np.array_equal(first, again.encode(batch))
    assert encoder.version == again.version


def test_an_items_vector_does_not_depend_on_order_or_company_but_for_rounding(
    row: tuple[EncoderSpec, Any], request: pytest.FixtureRequest
) -> None:
    """How much rounding is, the precision says; which kernel a batch of which shape gets, the processor."""
    spec, encoder = row
    most = next((TOLERANCE[each] for each in _OTHERS if each in request.node.name), TOLERANCE["float32"])
    rng = np.random.default_rng(2)
    batch = spec.probe(9, rng)
    whole = encoder.encode(batch)
    order = rng.permutation(9).tolist()
    np.testing.assert_allclose(encoder.encode(_pick(batch, order)), whole[order], atol=most, rtol=0)
    for i in range(9):
        np.testing.assert_allclose(encoder.encode(_pick(batch, [i])), whole[[i]], atol=most, rtol=0)


def test_takes_an_empty_batch(row: tuple[EncoderSpec, Any]) -> None:
    spec, encoder = row
    for empty in (spec.probe(0, np.random.default_rng(3)), []):
        vectors = encoder.encode(empty)
        assert vectors.shape == (0, encoder.dim)
        assert vectors.dtype == np.float32


def test_its_own_weights_make_it_again(row: tuple[EncoderSpec, Any]) -> None:
    spec, encoder = row
    batch = spec.probe(4, np.random.default_rng(4))
    again = spec.make(_OPTIONS, encoder.weights() or None)
    assert again.version == encoder.version
    assert np.array_equal(again.encode(batch), encoder.encode(batch))


def test_other_weights_give_another_version(row: tuple[EncoderSpec, Any]) -> None:
    spec, encoder = row
    for name, value in encoder.weights().items():
        changed = encoder.weights() | {name: value * np.float32(1.5)}
        assert spec.make(_OPTIONS, changed).version != encoder.version


def test_weights_of_another_shape_or_name_are_refused(row: tuple[EncoderSpec, Any]) -> None:
    spec, encoder = row
    for name, value in encoder.weights().items():
        with pytest.raises(ValueError, match="shape"):
            spec.make(_OPTIONS, encoder.weights() | {name: value[:-1]})
        with pytest.raises(ValueError, match="expected"):
            spec.make(_OPTIONS, encoder.weights() | {"strange": value})
