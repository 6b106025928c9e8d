"""The added RMS norm in plain torch, in few passes over memory. Also CUDA's without Triton.

Legend: B samples, D channels of a row.
"""

import torch
from torch import Tensor


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """What the sum is kept in: float64 for float64, float32 for all else."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def is_gradient_shared(
    branch: torch.dtype, total: torch.dtype, sample_scale: Tensor | None, scale: float
) -> bool:
    """Whether the branch's gradient is that of the sum, which is then given once."""
    return branch == total and sample_scale is None and scale == 1.0


def forward(
    branch: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    sample_scale: Tensor | None,
    *,
    scale: float,
    eps: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Add and normalise; arguments and results of the operator `model_zoo::add_rms_norm`."""
    total = _sum(branch, residual, sample_scale, scale)
    norm = torch.linalg.vector_norm(total, dim=-1)
    inverse_rms = norm.square_().div_(total.shape[-1]).add_(eps).rsqrt_()
    normed = (total * inverse_rms.unsqueeze(-1)).mul_(weight.to(total.dtype))
    return normed.to(branch.dtype), total, inverse_rms


def _sum(
    branch: Tensor, residual: Tensor | None, sample_scale: Tensor | None, scale: float
) -> Tensor:
    """The wide sum, dense and in memory of its own."""
    wide = torch.empty(branch.shape, dtype=accumulator_dtype(branch.dtype), device=branch.device)
    if sample_scale is None and residual is not None:
        return torch.add(residual, branch, alpha=scale, out=wide)
    total = wide.copy_(branch)
    if scale != 1.0:
        total.mul_(scale)
    if sample_scale is not None:
        total.mul_(_of_samples(sample_scale, total))
    return total if residual is None else total.add_(residual)


def backward(
    grad_normed: Tensor,
    grad_total: Tensor | None,
    total: Tensor,
    inverse_rms: Tensor,
    weight: Tensor,
    sample_scale: Tensor | None,
    *,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate; see the operator `model_zoo::add_rms_norm_backward`."""
    unit = total * inverse_rms.unsqueeze(-1)  # of root mean square 1
    grad = grad_normed.to(total.dtype)
    grad_weight = (grad * unit).flatten(0, -2).sum(0).to(weight.dtype)
    of_unit = grad * weight.to(total.dtype)
    along = (of_unit * unit).mean(dim=-1, keepdim=True)
    of_sum = of_unit.sub_(unit.mul_(along)).mul_(inverse_rms.unsqueeze(-1))
    if grad_total is not None:
        of_sum += grad_total
    if is_gradient_shared(grad_normed.dtype, total.dtype, sample_scale, scale):
        return grad_normed.new_empty(0), of_sum, grad_weight
    of_branch = of_sum * scale
    if sample_scale is not None:
        of_branch *= _of_samples(sample_scale, total)
    return of_branch.to(grad_normed.dtype), of_sum, grad_weight


def _of_samples(sample_scale: Tensor, like: Tensor) -> Tensor:
    """(B,) -> (B, 1, ...), to be multiplied with `like`."""
    return sample_scale.to(like.dtype).view(-1, *[1] * (like.ndim - 1))
