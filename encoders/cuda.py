"""The text model on a GPU: how many texts go together, and batches that are copied while the one before is computed.

The project's own machines have no GPU: only ``smallest_good`` is run by the tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

Forward = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Tokens int64[n, length] and which of them are no padding bool[n, length], both on the device, to float32[n, dim]."""

_SIZES = (32, 64, 128, 256, 512, 1024)
_ENOUGH = 0.95
"""A batch is good from this share of the best rate on: smaller ones wait less and take less memory."""


def run(batches: Sequence[tuple[torch.Tensor, torch.Tensor]], forward: Forward, device: str) -> torch.Tensor:
    """``forward`` of each batch, one after the other, as float32[all texts, dim] in main memory.

    Batches go over from pinned memory on a stream of their own; the only wait for the device is the one at the end.
    """
    copying = torch.cuda.Stream(device)  # type: ignore[no-untyped-call] # torch leaves these untyped
    computing = torch.cuda.current_stream(device)
    vectors = []
    for batch in batches:
        with torch.cuda.stream(copying):
            tokens, real = (part.pin_memory().to(device, non_blocking=True) for part in batch)
        computing.wait_stream(copying)
        for part in (tokens, real):
            part.record_stream(computing)  # else its memory is free for the next copy while it is still read
        vectors.append(forward(tokens, real))
    return torch.cat(vectors).cpu()


def find_batch(forward: Forward, length: int, device: str) -> int:
    """How many texts of ``length`` tokens to compute together: the smallest number that is about the fastest."""
    rates: dict[int, float] = {}
    for size in _SIZES:
        tokens = torch.ones((size, length), dtype=torch.int64, device=device)
        real = torch.ones((size, length), dtype=torch.bool, device=device)
        begin = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        try:
            forward(tokens, real)  # kernels are chosen and memory is taken the first time
            begin.record(torch.cuda.current_stream(device))
            for _ in range(3):
                forward(tokens, real)
            end.record(torch.cuda.current_stream(device))
            end.synchronize()
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            break
        rates[size] = size / begin.elapsed_time(end)
    return smallest_good(rates) if rates else 1


def smallest_good(rates: dict[int, float]) -> int:
    """The smallest size whose rate is at least 95 % of the best."""
    best = max(rates.values())
    return min(size for size, rate in rates.items() if rate >= _ENOUGH * best)


def clock(device: str) -> Callable[[], float]:
    """Seconds since now by the device's own events, when all that was asked of it is done."""
    stream = torch.cuda.current_stream(device)
    begin = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call] # as above
    begin.record(stream)

    def now() -> float:
        end = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        end.record(stream)
        end.synchronize()
        return float(begin.elapsed_time(end)) / 1e3

    return now
