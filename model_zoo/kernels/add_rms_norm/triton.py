"""The added RMS norm for CUDA in Triton: one launch forward, one and a sum backward.

A program holds whole rows in registers, so that each is read once and written once. Backward a
program takes every so-manieth block of rows and sums the weight's gradient over them in registers;
the sum over programs is torch's, so that the result is deterministic.

Legend: R rows (of all samples), D channels.
"""

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from model_zoo.kernels.add_rms_norm.cpu import accumulator_dtype, is_gradient_shared

BLOCK_ELEMENTS: Final = 2048  # of a program at once: 16 a thread
MAX_PROGRAMS: Final = 528  # backward: four on each of an H100's 132 multiprocessors
NUM_WARPS: Final = 4


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
    dtype = accumulator_dtype(branch.dtype)
    normed = branch.new_empty(branch.shape)
    total = branch.new_empty(branch.shape, dtype=dtype)
    inverse_rms = branch.new_empty(branch.shape[:-1], dtype=dtype)
    num_rows, channels = inverse_rms.numel(), branch.shape[-1]
    branch_rows = _rows(branch)
    residual_rows = None if residual is None else _rows(residual)
    block_channels = triton.next_power_of_2(channels)
    block_rows = _block_rows(block_channels)
    add_rms_norm_kernel[(triton.cdiv(num_rows, block_rows),)](
        branch_rows,
        residual_rows,
        weight.contiguous(),
        None if sample_scale is None else sample_scale.contiguous(),
        normed,
        total,
        inverse_rms,
        branch_rows.stride(0),
        0 if residual_rows is None else residual_rows.stride(0),
        num_rows,
        num_rows // max(branch.shape[0], 1),
        channels,
        SCALE=scale,
        EPS=eps,
        IS_FLOAT64=dtype == torch.float64,
        BLOCK_R=block_rows,
        BLOCK_D=block_channels,
        num_warps=NUM_WARPS,
    )
    return normed, total, inverse_rms


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
    is_shared = is_gradient_shared(grad_normed.dtype, total.dtype, sample_scale, scale)
    of_branch = grad_normed.new_empty(0 if is_shared else total.shape)
    of_sum = total.new_empty(total.shape)
    num_rows, channels = inverse_rms.numel(), total.shape[-1]
    block_channels = triton.next_power_of_2(channels)
    block_rows = _block_rows(block_channels)
    num_programs = min(triton.cdiv(num_rows, block_rows), MAX_PROGRAMS)
    partial = total.new_empty(num_programs, channels)
    gradient_kernel[(num_programs,)](
        grad_normed.contiguous(),
        None if grad_total is None else grad_total.contiguous(),
        total,
        inverse_rms,
        weight.contiguous(),
        None if sample_scale is None else sample_scale.contiguous(),
        None if is_shared else of_branch,
        of_sum,
        partial,
        num_rows,
        num_rows // max(total.shape[0], 1),
        channels,
        SCALE=scale,
        IS_FLOAT64=total.dtype == torch.float64,
        BLOCK_R=block_rows,
        BLOCK_D=block_channels,
        num_warps=NUM_WARPS,
    )
    return of_branch, of_sum, partial.sum(0).to(weight.dtype)


def _rows(x: Tensor) -> Tensor:
    """(..., D) -> (R, D), channels next to each other, rows perhaps apart; seldom a copy."""
    return (x if x.stride(-1) == 1 else x.contiguous()).reshape(-1, x.shape[-1])  # (R, D)


def _block_rows(block_channels: int) -> int:
    return max(BLOCK_ELEMENTS // block_channels, 1)


@triton.jit
def add_rms_norm_kernel(
    branch,
    residual,
    weight,
    sample_scale,
    normed,
    total,
    inverse_rms,
    branch_r,
    residual_r,
    num_rows,
    rows_of_sample,
    channels,
    SCALE: tl.constexpr,
    EPS: tl.constexpr,
    IS_FLOAT64: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Add and normalise a block of rows."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    row = (tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)).to(tl.int64)
    d = tl.arange(0, BLOCK_D)
    row_in = row < num_rows
    inside = row_in[:, None] & (d < channels)[None, :]
    at = row[:, None] * branch_r + d[None, :]
    x = tl.load(branch + at, mask=inside, other=0.0).to(ACC)
    if SCALE != 1.0:
        x *= SCALE
    if sample_scale is not None:
        of_row = tl.load(sample_scale + row // rows_of_sample, mask=row_in, other=0.0)
        x *= of_row.to(ACC)[:, None]
    if residual is not None:
        at = row[:, None] * residual_r + d[None, :]
        x += tl.load(residual + at, mask=inside, other=0.0).to(ACC)
    inverse = 1.0 / tl.sqrt(tl.sum(x * x, axis=1) / channels + EPS)
    w = tl.load(weight + d, mask=d < channels, other=0.0).to(ACC)
    out = row[:, None] * channels + d[None, :]
    tl.store(total + out, x, mask=inside)
    tl.store(normed + out, x * inverse[:, None] * w[None, :], mask=inside)
    tl.store(inverse_rms + row, inverse, mask=row_in)


@triton.jit
def gradient_kernel(
    grad_normed,
    grad_total,
    total,
    inverse_rms,
    weight,
    sample_scale,
    of_branch,
    of_sum,
    partial,
    num_rows,
    rows_of_sample,
    channels,
    SCALE: tl.constexpr,
    IS_FLOAT64: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Gradients of every so-manieth block of rows, and their sum for the weight."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    d = tl.arange(0, BLOCK_D)
    d_in = d < channels
    w = tl.load(weight + d, mask=d_in, other=0.0).to(ACC)
    of_weight = tl.zeros([BLOCK_D], ACC)
    num_blocks = tl.cdiv(num_rows, BLOCK_R)
    for block in range(tl.program_id(0), num_blocks, tl.num_programs(0)):
        row = (block * BLOCK_R + tl.arange(0, BLOCK_R)).to(tl.int64)
        row_in = row < num_rows
        inside = row_in[:, None] & d_in[None, :]
        at = row[:, None] * channels + d[None, :]
        inverse = tl.load(inverse_rms + row, mask=row_in, other=0.0)
        unit = tl.load(total + at, mask=inside, other=0.0) * inverse[:, None]
        grad = tl.load(grad_normed + at, mask=inside, other=0.0).to(ACC)
        of_weight += tl.sum(grad * unit, axis=0)
        grad *= w[None, :]
        along = tl.sum(grad * unit, axis=1) / channels
        grad = (grad - unit * along[:, None]) * inverse[:, None]
        if grad_total is not None:
            grad += tl.load(grad_total + at, mask=inside, other=0.0).to(ACC)
        tl.store(of_sum + at, grad, mask=inside)
        if of_branch is not None:
            if SCALE != 1.0:
                grad *= SCALE
            if sample_scale is not None:
                of_row = tl.load(sample_scale + row // rows_of_sample, mask=row_in, other=0.0)
                grad *= of_row.to(ACC)[:, None]
            tl.store(of_branch + at, grad, mask=inside)
    tl.store(partial + tl.program_id(0) * channels + d, of_weight, mask=d_in)
