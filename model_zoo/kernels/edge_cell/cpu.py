"""The edge cell in plain torch. Also CUDA's without Triton."""

import torch
from torch import Tensor


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """What is computed in: float64 for float64, float32 for all else."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def forward(
    attended: Tensor, receptance: Tensor, value: Tensor, edges: Tensor, cell: Tensor
) -> tuple[Tensor, Tensor]:
    """Step; arguments and results are those of the operator `model_zoo::edge_cell`."""
    dtype = cell.dtype
    attended, receptance, value, edges, cell = _widened(attended, receptance, value, edges, cell)
    a = torch.addcmul(attended, torch.sigmoid(receptance), value)
    following = torch.addcmul(cell, edges, torch.tanh(a).add_(cell))
    hidden = torch.tanh(following).mul_(a.sigmoid_())
    return _dense(hidden, dtype), _dense(following, dtype)


def backward(
    grad_hidden: Tensor | None,
    grad_cell: Tensor | None,
    attended: Tensor,
    receptance: Tensor,
    value: Tensor,
    edges: Tensor,
    cell: Tensor,
) -> tuple[Tensor, ...]:
    """Differentiate; see the operator `model_zoo::edge_cell_backward`."""
    operands = (attended, receptance, value, edges, cell)
    attended, receptance, value, edges, cell = _widened(*operands)
    share = torch.sigmoid(receptance)
    a = torch.addcmul(attended, share, value)
    opened, candidate = torch.sigmoid(a), torch.tanh(a)
    of_hidden = torch.zeros_like(a) if grad_hidden is None else grad_hidden.to(a.dtype)
    squashed = torch.tanh(torch.addcmul(cell, edges, candidate + cell))
    of_following = of_hidden * opened * (1 - squashed.square())
    if grad_cell is not None:
        of_following += grad_cell
    of_a = of_hidden * squashed * opened * (1 - opened)
    of_a += of_following * edges * (1 - candidate.square())
    gradients = (
        of_a,
        of_a * value * share * (1 - share),
        of_a * share,
        of_following * (candidate + cell),
        of_following * (1 + edges),
    )
    return tuple(
        _dense(gradient, operand.dtype)
        for gradient, operand in zip(gradients, operands, strict=True)
    )


def _widened(*operands: Tensor) -> tuple[Tensor, ...]:
    dtype = accumulator_dtype(operands[-1].dtype)
    return tuple(x.to(dtype) for x in operands)


def _dense(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype).contiguous()
