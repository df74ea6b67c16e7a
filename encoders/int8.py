"""Linear layers in eight bits: int8 weights by output channel, activations quantised anew for each token.

A range for each row of the input (not one for the batch, as ``torch.ao.quantization.quantize_dynamic`` takes) keeps a
text's vector independent of its company, and one token's large activations from costing the others precision (Dettmers
et al. 2022, "LLM.int8()", section 2.1: vector-wise quantisation). It goes from the row's least number to its greatest
(asymmetric, Jacob et al. 2018, "Quantization and Training of Neural Networks", section 2.1), because what leaves GELU
is hardly ever negative. Sums of products are exact int32, so they do not depend on the order of the additions either.
"""

from __future__ import annotations

import torch
from torch import nn

_WEIGHT_LEVELS = 127.0
_LEVELS = 255.0
_HALF = 128
_TINY = 1e-12
"""Least difference between two levels: a row of equal numbers has none."""


class Int8Linear(nn.Module):
    """``x @ W.T + b`` of float32 ``[..., in]`` to float32 ``[..., out]``, computed in int8 on a CPU."""

    weight_scale: torch.Tensor
    weight_zero: torch.Tensor
    weight_sum: torch.Tensor
    bias: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        weight = linear.weight.detach().float()
        scale = (weight.abs().amax(dim=1) / _WEIGHT_LEVELS).clamp_min(_TINY)
        levels = (weight / scale[:, None]).round()
        # opaque to the module: it can be neither moved nor saved
        self._packed = torch.ops.onednn.qlinear_prepack(levels.to(torch.int8), None)
        self.register_buffer("weight_scale", scale)
        self.register_buffer("weight_zero", torch.zeros(len(scale), dtype=torch.int64))
        self.register_buffer("weight_sum", levels.sum(dim=1) * scale)
        self.register_buffer("bias", torch.zeros(len(scale)) if linear.bias is None else linear.bias.detach().float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        least = rows.amin(dim=1, keepdim=True)
        step = ((rows.amax(dim=1, keepdim=True) - least) / _LEVELS).clamp_min_(_TINY)
        levels = (rows - (least + _HALF * step)).mul_(1.0 / step).round_().to(torch.int8)
        # torch casts to int8 ten times as fast as to uint8, which oneDNN takes; the highest bit is all that differs
        levels = levels.view(torch.uint8).bitwise_xor_(_HALF)
        product = self.product(levels)
        # rows = levels * step + least, and W summed up takes the part of the least
        torch.addcmul(self.bias, product, step, out=product).addcmul_(self.weight_sum, least)
        return product.view(*x.shape[:-1], -1)

    def product(self, levels: torch.Tensor) -> torch.Tensor:
        """uint8[n, in] times the weights: float32[n, out], exact where ``exact`` says so."""
        product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
            levels, 1.0, 0, self._packed, self.weight_scale, self.weight_zero, None,
            1.0, 0, torch.float32, "none", [], "",
        )  # fmt: skip
        return product


class PrecisionError(RuntimeError):
    """The precision is not for this processor."""


def quantise(model: nn.Module) -> None:
    """Put ``Int8Linear`` in the place of every linear layer of ``model``. Raises PrecisionError unless ``exact()``."""
    if not exact():
        raise PrecisionError(
            "text precision int8: this processor's int8 products saturate; take float32, for all workers "
            "(`segments text-precision float32`)"
        )
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                setattr(parent, name, Int8Linear(child))


@torch.inference_mode()
def exact() -> bool:
    """Whether this processor adds up int8 products exactly: x86 without VNNI saturates.

    Seven bits of activations would fit there, but come out slower than float32 and at a cosine of 0.976 to it.
    """
    linear = nn.Linear(64, 16, bias=False)
    linear.weight.fill_(1.0)
    x = torch.ones(4, 64)
    x[:, 0] = 0.0  # so that all others are at the highest level
    return torch.allclose(Int8Linear(linear)(x), linear(x), rtol=1e-4)
