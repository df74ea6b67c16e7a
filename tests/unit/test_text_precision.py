"""The text encoder in other precisions than float32."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch

from encoders.base import TOLERANCE, Precision
from encoders.cuda import smallest_good
from encoders.int8 import Int8Linear, PrecisionError, exact
from encoders.text import BertTextEncoder
from streams.loading import WorkerError, load_models
from streams.settings import Settings
from streams.steps.segments import load_plan
from streams.tools.sources.stackexchange import rows
from streams.tools.text_precision import text_precision
from tests.helpers import RULES

#: before any fixture helps it
EXACT_HERE = exact()


@pytest.fixture(scope="module")
def float32() -> BertTextEncoder:
    return BertTextEncoder(device="cpu")


@pytest.fixture(scope="module")
def int8(exact_int8: None) -> BertTextEncoder:
    return BertTextEncoder(device="cpu", precision="int8")


@pytest.fixture(scope="module")
def comments(data_dir: Path) -> list[str]:
    """Real ones, short and long, among them those that int8 distorted most of all 3,408 when it was made."""
    written = [" ".join(row["Text"].split()) for row in rows(data_dir / "stackexchange-quantumcomputing/Comments.xml")]
    texts = list(dict.fromkeys(written))
    return [texts[place] for place in (774, 2113, 447, 2925, 2216)] + texts[::170]


def test_int8_stays_within_cosine_099_of_float32_for_every_comment(
    float32: BertTextEncoder, int8: BertTextEncoder, comments: list[str]
) -> None:
    cosines = np.einsum("nd,nd->n", float32.encode(comments), int8.encode(comments))
    assert cosines.min() > 0.99
    assert np.median(cosines) > 0.998


def test_bf16_is_closer_to_float32_still(float32: BertTextEncoder, comments: list[str]) -> None:
    texts = comments[:12]
    bf16 = BertTextEncoder(device="cpu", precision="bf16").encode(texts)
    assert bf16.dtype == np.float32
    assert np.einsum("nd,nd->n", float32.encode(texts), bf16).min() > 0.999


@pytest.mark.usefixtures("exact_int8")
@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize("precision", get_args(Precision))
def test_other_kernels_give_the_same_vectors_within_what_the_precision_promises(
    comments: list[str], precision: Precision
) -> None:
    """As on another processor: without oneDNN's, torch takes its own, which add in another order."""
    encoder = BertTextEncoder(device="cpu", precision=precision, cache=0)
    texts = comments[:8]
    one = encoder.encode(texts)
    with torch.backends.mkldnn.flags(enabled=False):
        other = encoder.encode(texts)
    np.testing.assert_allclose(other, one, atol=TOLERANCE[precision], rtol=0)


@pytest.mark.usefixtures("exact_int8")
def test_a_row_of_an_int8_layer_does_not_depend_on_the_other_rows() -> None:
    """One scale for a whole batch would make it so."""
    torch.manual_seed(2)
    layer = Int8Linear(torch.nn.Linear(96, 40))
    x = torch.randn(7, 96) * torch.logspace(-2, 2, 7)[:, None]
    with torch.inference_mode():
        together, alone = layer(x), torch.cat([layer(row[None]) for row in x])
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)


def test_the_version_names_the_precision(float32: BertTextEncoder, int8: BertTextEncoder) -> None:
    assert int8.version == f"{float32.version}-int8"


def test_a_precision_that_is_unknown_or_not_for_the_device_is_refused() -> None:
    with pytest.raises(ValueError, match="float32, int8, bf16"):
        BertTextEncoder(device="cpu", precision="int4")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="for a CPU"):
        BertTextEncoder(device="cuda", precision="int8")


def test_int8_is_exact_on_every_processor_but_x86_without_vnni() -> None:
    saturates = platform.machine() == "x86_64" and "vnni" not in Path("/proc/cpuinfo").read_text()
    assert saturates is not EXACT_HERE


def test_int8_is_refused_where_products_saturate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("encoders.int8.exact", lambda: False)
    with pytest.raises(PrecisionError, match="take float32"):
        BertTextEncoder(device="cpu", precision="int8")
    (tmp_path / "segments.toml").write_text(RULES)
    settings = Settings(app="x", segments_file=tmp_path / "segments.toml")
    with pytest.raises(WorkerError, match="take float32"):
        load_models(settings, load_plan(tmp_path / "segments.toml"), "int8")


def test_the_setting_and_the_command_take_the_precisions_of_the_encoder() -> None:
    assert get_args(Settings.model_fields["text_precision"].annotation) == ("auto", *get_args(Precision))
    asked = get_type_hints(text_precision)["precision"]
    assert set(get_args(get_args(asked)[0])) == set(get_args(Precision))


@pytest.mark.usefixtures("exact_int8")
@pytest.mark.parametrize("bias", [True, False])
def test_an_int8_layer_is_near_the_layer_also_for_rows_of_zeros_and_of_very_unlike_ranges(bias: bool) -> None:
    torch.manual_seed(1)
    layer = torch.nn.Linear(96, 40, bias=bias)
    x = torch.randn(3, 7, 96) * torch.logspace(-3, 3, 7)[:, None]
    x[1, 2] = 0.0
    x[2, 3] = 5.0
    with torch.inference_mode():
        plain, quantised = layer(x), Int8Linear(layer)(x)
    size = torch.linalg.vector_norm(plain, dim=-1)
    assert (torch.linalg.vector_norm(quantised - plain, dim=-1) <= 0.02 * size + 1e-6).all()


def test_a_gpu_batch_is_the_smallest_that_is_about_the_fastest() -> None:
    assert smallest_good({32: 1.0, 64: 1.9, 128: 2.9, 256: 3.0, 512: 3.05}) == 128
    assert smallest_good({32: 5.0, 64: 4.0}) == 32
