"""The two-layer perceptron of transformer blocks."""

import torch.nn.functional as F
from torch import Tensor, nn


class Mlp(nn.Module):
    """Linear, GELU, linear; parameters `fc1` and `fc2`.

    Attributes:
        gelu: ``none`` for the exact function of erf, ``tanh`` for its approximation.
    """

    def __init__(self, dim: int, hidden_dim: int, *, gelu: str = "none") -> None:
        super().__init__()
        self.gelu = gelu
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token: (..., D) -> (..., D)."""
        return self.fc2(F.gelu(self.fc1(x), approximate=self.gelu))
