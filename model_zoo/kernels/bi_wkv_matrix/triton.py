"""The matrix-valued Bi-WKV for CUDA in Triton, sequential in time with the states in registers.

A program walks all tokens of one head, row and direction with a slice of the state: columns of it
where what is read is a sum over the rows, rows of it where the sum is over the columns. So no sum
goes from program to program, the forward pass is one launch, and so is each of the three scans of
the backward pass, which are the same recurrence with the operands' parts exchanged:

    y and the gradient of v read columns; the gradients of r and of k read rows.

The gradient of the decay follows from those of r and k: a pair of tokens i > j gives the same
product p = r_i dr_i = k_j dk_j to both, and (i - j - 1) p = (i - 1) r_i dr_i - j k_j dk_j.

Not measured on a GPU yet. A frame of video gives few programs, as many as 2 B H D / 16.

Legend: B batch, N tokens, H heads, D channels of a head.
"""

from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from model_zoo.kernels.bi_wkv_matrix.cpu import accumulator_dtype

BLOCK_READ: Final = 16  # rows or columns of the state that a program keeps
NUM_WARPS: Final = 2


def forward(r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor) -> Tensor:
    """Read; arguments and result are those of the operator `model_zoo::bi_wkv_matrix`."""
    of_directions = scan(k, v, r, log_decay, bonus=bonus, reads_rows=False)
    return of_directions.sum(0).to(v.dtype)


def backward(
    grad: Tensor, r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Differentiate; see the operator `model_zoo::bi_wkv_matrix_backward`."""
    dtype = accumulator_dtype(v.dtype)
    grad_v = scan(r, grad, k, log_decay, bonus=bonus, reads_rows=False).sum(0)
    of_r = scan(k, v, grad, log_decay, reads_rows=True)  # (2, B, N, H, D)
    of_k = scan(r, grad, v, log_decay, reads_rows=True)
    wide_r, wide_k, own = r.to(dtype), k.to(dtype), bonus.to(dtype)

    # What a source gives to later tokens came back to it in the scan that runs the other way.
    place = torch.arange(v.shape[1], device=v.device, dtype=torch.float64)[:, None, None]
    steps = (wide_r * of_r[0]).double() * (place - 1) - (wide_k * of_k[1]).double() * place
    steps += (wide_k * of_k[0]).double() * place - (wide_r * of_r[1]).double() * (place + 1)
    grad_rate = steps.sum((0, 1)).to(log_decay.dtype)

    of_own_weight = (grad.to(dtype) * v.to(dtype)).sum(-1, keepdim=True)  # (B, N, H, 1)
    grad_bonus = (of_own_weight * wide_r * wide_k).sum((0, 1)).to(bonus.dtype)
    grad_r = of_r.sum(0).addcmul_(of_own_weight * own, wide_k).to(r.dtype)
    grad_k = of_k.sum(0).addcmul_(of_own_weight * own, wide_r).to(k.dtype)
    return grad_r, grad_k, grad_v.to(v.dtype), grad_rate, grad_bonus


def scan(
    rows: Tensor,
    columns: Tensor,
    query: Tensor,
    log_decay: Tensor,
    *,
    bonus: Tensor | None = None,
    reads_rows: bool,
) -> Tensor:
    """Read the sums of rows_j columns_j^T over the tokens before, and after, each: (2, B, N, H, D).

    Args:
        rows: (B, N, H, D), and columns and query too; a step's decay is of the rows.
        bonus: Weight by row of the token itself, which the first direction then adds.
        reads_rows: Whether the query is of the columns.
    """
    batch, num_tokens, num_heads, channels = rows.shape
    dtype = accumulator_dtype(rows.dtype)
    out = rows.new_empty((2, *rows.shape), dtype=dtype)
    grid = (triton.cdiv(channels, BLOCK_READ), batch * num_heads, 2)
    operands = (x if x.stride(-1) == 1 else x.contiguous() for x in (rows, columns, query))
    rows, columns, query = operands
    strides = (s for x in (rows, columns, query) for s in x.stride()[:3])
    decay = log_decay.to(dtype).exp().contiguous()
    constants: dict[str, Any] = {
        "READS_ROWS": reads_rows,
        "BLOCK_ROWS": BLOCK_READ if reads_rows else triton.next_power_of_2(channels),
        "BLOCK_COLUMNS": triton.next_power_of_2(channels) if reads_rows else BLOCK_READ,
        "IS_FLOAT64": dtype == torch.float64,
        "num_warps": NUM_WARPS,
    }
    own = None if bonus is None else bonus.to(dtype).contiguous()
    sizes = (num_tokens, num_heads, channels)
    scan_kernel[grid](rows, columns, query, decay, own, out, *strides, *sizes, **constants)
    return out


@triton.jit
def scan_kernel(
    rows,
    columns,
    query,
    decay,
    own,
    out,
    rows_b,
    rows_n,
    rows_h,
    columns_b,
    columns_n,
    columns_h,
    query_b,
    query_n,
    query_h,
    num_tokens,
    num_heads,
    channels,
    READS_ROWS: tl.constexpr,
    BLOCK_ROWS: tl.constexpr,
    BLOCK_COLUMNS: tl.constexpr,
    IS_FLOAT64: tl.constexpr,
):
    """Walk the tokens of one head, row and direction with a slice of the state."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    b = (tl.program_id(1) // num_heads).to(tl.int64)
    h = (tl.program_id(1) % num_heads).to(tl.int64)
    is_reversed = tl.program_id(2)
    i = tl.arange(0, BLOCK_ROWS)
    j = tl.arange(0, BLOCK_COLUMNS)
    if READS_ROWS:
        i += tl.program_id(0) * BLOCK_ROWS
    else:
        j += tl.program_id(0) * BLOCK_COLUMNS
    i_in = i < channels
    j_in = j < channels
    step_decay = tl.load(decay + h * channels + i, mask=i_in, other=0.0)
    own_weight = tl.zeros([BLOCK_ROWS], ACC)
    if own is not None:
        own_weight = tl.load(own + h * channels + i, mask=i_in, other=0.0)
        own_weight = tl.where(is_reversed == 0, own_weight, 0.0)

    rows_at = rows + b * rows_b + h * rows_h + i
    columns_at = columns + b * columns_b + h * columns_h + j
    query_at = query + b * query_b + h * query_h
    batch = tl.num_programs(1) // num_heads
    out_at = out + ((is_reversed * batch + b) * num_tokens * num_heads + h) * channels
    state = tl.zeros([BLOCK_ROWS, BLOCK_COLUMNS], ACC)
    for step in range(num_tokens):
        n = (step + is_reversed * (num_tokens - 1 - 2 * step)).to(tl.int64)
        row = tl.load(rows_at + n * rows_n, mask=i_in, other=0.0).to(ACC)
        column = tl.load(columns_at + n * columns_n, mask=j_in, other=0.0).to(ACC)
        pair = row[:, None] * column[None, :]
        if READS_ROWS:
            q = tl.load(query_at + n * query_n + j, mask=j_in, other=0.0).to(ACC)
            read = tl.sum(state * q[None, :], axis=1)
            tl.store(out_at + n * num_heads * channels + i, read, mask=i_in)
        else:
            q = tl.load(query_at + n * query_n + i, mask=i_in, other=0.0).to(ACC)
            seen = state + own_weight[:, None] * pair
            read = tl.sum(seen * q[:, None], axis=0)
            tl.store(out_at + n * num_heads * channels + j, read, mask=j_in)
        state = state * step_decay[:, None] + pair
