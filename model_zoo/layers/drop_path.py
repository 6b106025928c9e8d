"""Stochastic depth."""

import torch
from torch import Tensor, nn


class DropPath(nn.Module):
    """Drop a whole sample's residual branch with probability `rate` while training."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Keep or zero each sample, scaled so that the mean stays: (B, ...) -> (B, ...)."""
        if not self.training or self.rate == 0.0:
            return x
        keep = 1.0 - self.rate
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * mask / keep

    def sample_scale(self, x: Tensor) -> Tensor | None:
        """What `forward` would multiply each sample with, (B,), for who multiplies by itself."""
        if not self.training or self.rate == 0.0:
            return None
        keep = 1.0 - self.rate
        wide = torch.promote_types(x.dtype, torch.float32)
        return x.new_empty(x.shape[:1], dtype=wide).bernoulli_(keep).div_(keep)


def drop_path_rates(rate: float, depth: int) -> list[float]:
    """Rates rising linearly from 0 to `rate` over `depth` blocks, as every ViT code does.

    >>> drop_path_rates(0.1, 3)
    [0.0, 0.05, 0.1]
    """
    return [rate * i / max(depth - 1, 1) for i in range(depth)]
