"""The graph's layers by ``torch_geometric.nn.SAGEConv``. It imports torch: workers have it elsewhere."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from encoders.base import E_S, F32, I64, NODE_DIM, Halves, Weights, as_batch
from encoders.device import choose_device

with warnings.catch_warnings():
    # torch_geometric 2.8 calls torch.jit.script while it is imported, which torch 2.15 deprecates
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*is deprecated", category=FutureWarning)
    from torch_geometric.nn import SAGEConv


class SageLayers:
    """Both layers, on a graphics card where there is one."""

    def __init__(self, weights: Weights, device: str = "auto") -> None:
        """``weights``: ``layer1.root``, ``layer1.neighbours``, ``layer2.root``, ``layer2.neighbours`` f32[128, 128]."""
        self.device = choose_device(device)
        self._convs = {
            number: SAGEConv((NODE_DIM, NODE_DIM), wide_out, aggr="mean", bias=False)
            for number, wide_out in ((1, NODE_DIM), (2, E_S))
        }
        for number, conv in self._convs.items():
            conv.load_state_dict(
                {
                    "lin_l.weight": torch.from_numpy(weights[f"layer{number}.neighbours"].copy()),
                    "lin_r.weight": torch.from_numpy(weights[f"layer{number}.root"].copy()),
                }
            )
            conv.to(self.device).eval()

    @torch.inference_mode()
    def layer(self, number: int, own: F32, followees: Halves, dst: I64) -> F32:
        """As ``Layers.layer``. Raises ValueError for numbers that are not finite."""
        own, followees = as_batch(own, NODE_DIM, "users"), as_batch(followees, NODE_DIM, "followees")
        n, m = len(own), len(followees)
        if not n:
            return np.zeros((0, E_S), np.float32)
        out: torch.Tensor = self._convs[number](
            (torch.from_numpy(followees).to(self.device), torch.from_numpy(own).to(self.device)),
            torch.from_numpy(np.stack([np.arange(m), dst])).to(self.device),
            size=(m, n),
        )
        vectors: F32 = out.cpu().numpy()
        return vectors
