"""The added RMS norm as it is written, and as autograd differentiates it.

It is what the tests trust. Source: arXiv:1910.07467, equation 4.
"""

import torch
from torch import Tensor


def add_rms_norm(
    branch: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    *,
    sample_scale: Tensor | None = None,
    scale: float = 1.0,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Normed sum and sum; arguments as of `model_zoo.kernels.add_rms_norm`."""
    wide = torch.float64 if branch.dtype == torch.float64 else torch.float32
    total = scale * branch.to(wide)
    if sample_scale is not None:
        total = total * sample_scale.view(-1, *[1] * (branch.ndim - 1)).to(wide)
    if residual is not None:
        total = total + residual
    mean_square = total.square().mean(dim=-1, keepdim=True)
    normed = weight.to(wide) * total / torch.sqrt(mean_square + eps)
    return normed.to(branch.dtype), total
