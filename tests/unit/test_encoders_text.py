"""The BERT text encoder."""

from __future__ import annotations

import json
import logging
import random
import threading
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.utils import logging as hf_logging

from encoders.base import E_T, F32, TEXT_DIM, TOLERANCE
from encoders.projection import TextProjection
from encoders.text import BertTextEncoder

#: what the order of a sum may change of a number in a vector of length 1
ROUNDING = TOLERANCE["float32"]


@pytest.fixture(scope="module")
def bert() -> BertTextEncoder:
    return BertTextEncoder(device="cpu")


def _sentences(n: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    words = ["the", "restaurant", "sold", "cheap", "tickets", "unbelievably", "quickly", "to", "Zürich", "again", "!"]
    return [" ".join(rng.choice(words) for _ in range(rng.randint(1, 40))) + f" {i}" for i in range(n)]


def test_vectors_are_of_length_one_and_mean_what_the_text_means(bert: BertTextEncoder) -> None:
    v = bert.encode(["I love cooking pasta", "My favourite recipe is lasagne", "The parliament passed a tax law"])
    assert v.shape == (3, TEXT_DIM)
    assert v.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(v, axis=1), 1.0, atol=1e-5)
    assert v[0] @ v[1] > v[0] @ v[2] + 0.2


def test_a_text_with_nothing_to_read_has_the_zero_vector(bert: BertTextEncoder) -> None:
    assert not bert.encode(["", "  \n\t", "\x00"]).any()
    assert bert.encode(["🙂"]).any()


def test_a_vector_is_the_same_whatever_is_in_the_batch_but_for_rounding() -> None:
    """To the bit it is not: the kernel, and with it the order of a sum, is chosen by processor and shape."""
    texts = _sentences(16, 1)
    single = BertTextEncoder(device="cpu", cache=0)
    alone = np.concatenate([single.encode([text]) for text in texts])
    for batch in (32, 5):
        encoder = BertTextEncoder(device="cpu", batch=batch, cache=0)
        for these in (slice(None), slice(None, None, -1), slice(3, 11)):
            np.testing.assert_allclose(encoder.encode(texts[these]), alone[these], atol=ROUNDING, rtol=0)


def test_the_same_batch_gives_the_same_vectors_to_the_bit() -> None:
    """What two runs of the audit have in common, and so their outcome."""
    texts = _sentences(16, 1)
    first, second = (BertTextEncoder(device="cpu", cache=0) for _ in range(2))
    whole = first.encode(texts)
    assert np.array_equal(first.encode(texts), whole)
    assert np.array_equal(second.encode(texts), whole)


def test_padding_does_not_change_the_mean(bert: BertTextEncoder) -> None:
    """Against the plain computation: one text, no padding, no mask."""
    tokenizer, model = bert._tokenizer, bert._model
    for text in _sentences(4, 2):
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        with torch.inference_mode():
            plain = model(input_ids=ids).last_hidden_state.mean(dim=1)
        expected: F32 = torch.nn.functional.normalize(plain, dim=1).numpy()
        np.testing.assert_allclose(bert.encode([text]), expected, atol=2e-6)


def test_equal_texts_are_encoded_once_and_the_cache_is_bounded() -> None:
    encoder = BertTextEncoder(device="cpu", cache=3)
    forwarded: list[int] = []
    encoder._model.register_forward_pre_hook(
        lambda _m, _a, kwargs: forwarded.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    v = encoder.encode(["same", "same", "other", "same"])
    assert sum(forwarded) == 2
    assert np.array_equal(v[0], v[1])
    assert np.array_equal(v[0], v[3])
    encoder.encode(["same", "other"])
    assert sum(forwarded) == 2
    encoder.encode(["one", "two", "three", "four"])
    assert len(encoder._cache) == 3
    np.testing.assert_allclose(encoder.encode(["same"]), v[:1], atol=ROUNDING, rtol=0)
    assert sum(forwarded) == 7


def test_what_a_caller_does_to_a_vector_does_not_reach_the_cache(bert: BertTextEncoder) -> None:
    v = bert.encode(["mutable"])
    kept = v.copy()
    v[:] = 0.0
    assert np.array_equal(bert.encode(["mutable"]), kept)


def test_only_the_first_tokens_of_a_long_text_are_read() -> None:
    encoder = BertTextEncoder(device="cpu", max_tokens=16)
    long = "word " * 14
    assert np.array_equal(encoder.encode([long + "and more " * 1000]), encoder.encode([long + "different"]))


def test_odd_unicode_is_read_or_replaced_but_never_fails(bert: BertTextEncoder) -> None:
    v = bert.encode(["lone \ud800 surrogate", "combining é", "\u202ertl", "a" * 5000, "漢字"])
    assert np.isfinite(v).all()


def test_threads_may_share_one_encoder(bert: BertTextEncoder) -> None:
    texts = _sentences(12, 3)
    expected = bert.encode(texts)
    fresh = BertTextEncoder(device="cpu", cache=4)
    results: dict[int, F32] = {}
    threads = [threading.Thread(target=lambda i=i: results.__setitem__(i, fresh.encode(texts))) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    for found in results.values():  # whom the small cache still has is in no batch: the others' company differs
        np.testing.assert_allclose(found, expected, atol=ROUNDING, rtol=0)


def test_loading_is_silent_and_leaves_the_logging_as_it_was(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = (hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity())
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("error")
        BertTextEncoder(device="cpu").encode(["hello"])
    assert (hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity()) == before
    assert capfd.readouterr() == ("", "")
    assert not caplog.records


def test_a_hub_name_is_refused_rather_than_fetched() -> None:
    with pytest.raises(FileNotFoundError, match="must be a folder"):
        BertTextEncoder("sentence-transformers/all-MiniLM-L6-v2")


def test_any_small_bert_in_a_folder_works_and_the_version_names_its_content(
    bert: BertTextEncoder, tmp_path: Path
) -> None:
    folder = tmp_path / "tiny"
    config = dict(bert._model.config.to_dict(), num_hidden_layers=1, hidden_size=48, intermediate_size=96)
    tiny = type(bert._model)(type(bert._model.config)(**config))
    tiny.save_pretrained(folder)
    bert._tokenizer.save_pretrained(folder)
    first = BertTextEncoder(str(folder), device="cpu")
    assert first.dim == 48
    assert first.encode(["hello"]).shape == (1, 48)
    assert first.version.startswith("tiny-")
    assert first.version == BertTextEncoder(str(folder), device="cpu").version
    assert first.version != BertTextEncoder(str(folder), device="cpu", max_tokens=64).version
    changed = json.loads((folder / "config.json").read_text()) | {"layer_norm_eps": 1e-6}
    (folder / "config.json").write_text(json.dumps(changed))
    assert BertTextEncoder(str(folder), device="cpu").version != first.version


def test_the_projection_keeps_angles_and_length_and_zero(bert: BertTextEncoder) -> None:
    projection = TextProjection()
    v = bert.encode(["I love cooking pasta", "My favourite recipe is lasagne", "The parliament passed a law", ""])
    e_t = projection.encode(v)
    assert e_t.shape == (4, E_T)
    np.testing.assert_allclose(np.linalg.norm(e_t, axis=1), [1, 1, 1, 0], atol=1e-5)
    np.testing.assert_allclose((e_t @ e_t.T)[:3, :3], (v @ v.T)[:3, :3], atol=0.2)
    np.testing.assert_allclose(projection.encode(v * 7.0), e_t, atol=1e-6)
    w = projection.weights()["weight"]
    np.testing.assert_allclose(w @ w.T, np.eye(E_T), atol=1e-4)
