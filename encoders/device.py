"""Where torch computes, and with how many threads. It imports torch, which takes seconds: a worker must not."""

from __future__ import annotations

import os

import torch


def choose_device(device: str = "auto") -> str:
    """``auto`` is ``cuda`` where there is one, else ``cpu``; any other name is kept as it is."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() else "cpu"


def use_threads(count: int) -> None:
    """So many threads for one of torch's operations, and none of the tokenizers' own."""
    torch.set_num_threads(count)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
