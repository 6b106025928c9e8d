"""Root-mean-square normalisation (arXiv:1910.07467)."""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS: Final = 1e-5


class RMSNorm(nn.Module):
    """Divide each token by its root mean square and scale it; no bias."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise in the precision of `x`: (..., D) -> (..., D)."""
        return F.rms_norm(x, self.weight.shape, self.weight.to(x.dtype), EPS)
