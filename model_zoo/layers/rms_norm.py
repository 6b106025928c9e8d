"""Root-mean-square normalisation (arXiv:1910.07467) of a residual that is kept wide."""

from typing import Final

import torch
from torch import Tensor, nn

from model_zoo.kernels.add_rms_norm import add_rms_norm

EPS: Final = 1e-5


class AddRMSNorm(nn.Module):
    """Add a branch to the residual, divide each token by its root mean square and scale it."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(
        self,
        branch: Tensor,
        residual: Tensor | None,
        *,
        sample_scale: Tensor | None = None,
        scale: float = 1.0,
    ) -> tuple[Tensor, Tensor]:
        """Normed sum in the precision of `branch`, and the wide sum: each (B, ..., D).

        Args:
            residual: Wide; None stands for zeros.
            sample_scale: (B,), a factor of each sample's branch.
            scale: A factor of the whole branch.
        """
        return add_rms_norm(
            branch, residual, self.weight, sample_scale=sample_scale, scale=scale, eps=EPS
        )
