"""Small trainable modules between the layers of a frozen transformer."""

import torch.nn.functional as F
from torch import Tensor, nn


class BottleneckAdapter(nn.Module):
    """Linear to a quarter of the width, GELU (erf), linear back; begins as zero.

    Source: arXiv:2302.03024 (AIM), names as in taoyang1122/adapt-image-models@b3580d2.
    """

    def __init__(self, dim: int, *, has_skip: bool) -> None:
        super().__init__()
        self.has_skip = has_skip
        self.D_fc1 = nn.Linear(dim, dim // 4)
        self.D_fc2 = nn.Linear(dim // 4, dim)
        nn.init.zeros_(self.D_fc2.weight)
        nn.init.zeros_(self.D_fc2.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Adapt each token: (..., D) -> (..., D)."""
        y = self.D_fc2(F.gelu(self.D_fc1(x)))
        return x + y if self.has_skip else y
