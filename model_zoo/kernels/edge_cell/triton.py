"""The edge cell for CUDA in Triton: one launch forward, one backward.

Operands are rows of a batch, dense within a sample; samples may lie apart, as frames of a clip do.
"""

from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from model_zoo.kernels.edge_cell.cpu import accumulator_dtype

BLOCK: Final = 512
NUM_WARPS: Final = 4


def forward(
    attended: Tensor, receptance: Tensor, value: Tensor, edges: Tensor, cell: Tensor
) -> tuple[Tensor, Tensor]:
    """Step; arguments and results are those of the operator `model_zoo::edge_cell`."""
    hidden, following = cell.new_empty(cell.shape), cell.new_empty(cell.shape)
    arguments, options = _arguments(attended, receptance, value, edges, cell)
    step_kernel[_grid(cell)](hidden, following, *arguments, **options)
    return hidden, following


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
    gradients = tuple(x.new_empty(x.shape) for x in operands)
    arguments, options = _arguments(*operands)
    gradient_kernel[_grid(cell)](
        *(None if grad is None else grad.contiguous() for grad in (grad_hidden, grad_cell)),
        *gradients,
        *arguments,
        **options,
    )
    return gradients


def _grid(cell: Tensor) -> tuple[int, int]:
    num_elements = cell[0].numel() if len(cell) else 0
    return (triton.cdiv(num_elements, BLOCK), len(cell))


def _arguments(*operands: Tensor) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What both kernels end with: operands, elements between samples and of one, constants."""
    rows = [x if x[:1].is_contiguous() else x.contiguous() for x in operands]
    options = {
        "IS_FLOAT64": accumulator_dtype(operands[-1].dtype) == torch.float64,
        "BLOCK": BLOCK,
        "num_warps": NUM_WARPS,
    }
    return (*rows, *(x.stride(0) for x in rows), rows[0][0].numel()), options


@triton.jit
def sigmoid_and_tanh(x, IS_FLOAT64: tl.constexpr):
    """Both from one exponential that cannot overflow; tanh near 0 from its series, as 1 - 1 is."""
    near_zero: tl.constexpr = 0.01 if IS_FLOAT64 else 0.3
    small = tl.exp(-tl.abs(x))
    sigmoid = tl.where(x >= 0, 1.0, small) / (1.0 + small)
    square = small * small
    tanh = (1.0 - square) / (1.0 + square)
    y = x * x
    series = x * (1 + y * (-1 / 3 + y * (2 / 15 + y * (-17 / 315 + y * (62 / 2835)))))
    return sigmoid, tl.where(tl.abs(x) < near_zero, series, tl.where(x >= 0, tanh, -tanh))


@triton.jit
def step_kernel(
    hidden,
    following,
    attended,
    receptance,
    value,
    edges,
    cell,
    attended_b,
    receptance_b,
    value_b,
    edges_b,
    cell_b,
    num_elements,
    IS_FLOAT64: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Step a block of elements of one sample."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    b = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < num_elements
    a = tl.load(attended + b * attended_b + i, mask=inside, other=0.0).to(ACC)
    r = tl.load(receptance + b * receptance_b + i, mask=inside, other=0.0).to(ACC)
    v = tl.load(value + b * value_b + i, mask=inside, other=0.0).to(ACC)
    e = tl.load(edges + b * edges_b + i, mask=inside, other=0.0).to(ACC)
    c = tl.load(cell + b * cell_b + i, mask=inside, other=0.0).to(ACC)
    share, _ = sigmoid_and_tanh(r, IS_FLOAT64)
    opened, candidate = sigmoid_and_tanh(a + share * v, IS_FLOAT64)
    c += e * (candidate + c)
    _, squashed = sigmoid_and_tanh(c, IS_FLOAT64)
    tl.store(hidden + b * num_elements + i, squashed * opened, mask=inside)
    tl.store(following + b * num_elements + i, c, mask=inside)


@triton.jit
def gradient_kernel(
    grad_hidden,
    grad_cell,
    of_attended,
    of_receptance,
    of_value,
    of_edges,
    of_cell,
    attended,
    receptance,
    value,
    edges,
    cell,
    attended_b,
    receptance_b,
    value_b,
    edges_b,
    cell_b,
    num_elements,
    IS_FLOAT64: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Differentiate a block of elements of one sample, its step made again."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    b = tl.program_id(1).to(tl.int64)
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < num_elements
    a = tl.load(attended + b * attended_b + i, mask=inside, other=0.0).to(ACC)
    r = tl.load(receptance + b * receptance_b + i, mask=inside, other=0.0).to(ACC)
    v = tl.load(value + b * value_b + i, mask=inside, other=0.0).to(ACC)
    e = tl.load(edges + b * edges_b + i, mask=inside, other=0.0).to(ACC)
    c = tl.load(cell + b * cell_b + i, mask=inside, other=0.0).to(ACC)
    share, _ = sigmoid_and_tanh(r, IS_FLOAT64)
    opened, candidate = sigmoid_and_tanh(a + share * v, IS_FLOAT64)
    update = candidate + c
    _, squashed = sigmoid_and_tanh(c + e * update, IS_FLOAT64)

    here = b * num_elements + i
    of_hidden = tl.zeros([BLOCK], ACC)
    if grad_hidden is not None:
        of_hidden = tl.load(grad_hidden + here, mask=inside, other=0.0).to(ACC)
    of_following = of_hidden * opened * (1.0 - squashed * squashed)
    if grad_cell is not None:
        of_following += tl.load(grad_cell + here, mask=inside, other=0.0).to(ACC)
    of_a = of_hidden * squashed * opened * (1.0 - opened)
    of_a += of_following * e * (1.0 - candidate * candidate)
    tl.store(of_attended + here, of_a, mask=inside)
    tl.store(of_receptance + here, of_a * v * share * (1.0 - share), mask=inside)
    tl.store(of_value + here, of_a * share, mask=inside)
    tl.store(of_edges + here, of_following * update, mask=inside)
    tl.store(of_cell + here, of_following * (1.0 + e), mask=inside)
