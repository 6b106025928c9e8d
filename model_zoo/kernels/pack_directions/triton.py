"""Packing for CUDA in Triton, in one launch.

Every parameter has an axis of the channels, so a program brings over all that belongs to a block of
channels of one direction.
"""

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from model_zoo.kernels.pack_directions.operands import Direction, accumulator_dtype, empty

BLOCK_CHANNELS: Final = 32
NUM_WARPS: Final = 4


def pack(forward: Direction, backward: Direction, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The operands in the order of `Packed`."""
    packed = empty(forward, dtype)
    channels, num_states = forward.A_log.shape
    num_rows, num_rank = forward.x_weight.shape[0], forward.dt_weight.shape[1]
    pack_kernel[triton.cdiv(channels, BLOCK_CHANNELS), 2](
        *(x.contiguous() for x in forward),
        *(x.contiguous() for x in backward),
        *packed,
        channels,
        NUM_TAPS=forward.conv_weight.shape[-1],
        NUM_ROWS=num_rows,
        NUM_RANK=num_rank,
        NUM_STATES=num_states,
        IS_FLOAT64=accumulator_dtype(dtype) == torch.float64,
        BLOCK_E=BLOCK_CHANNELS,
        BLOCK_K=triton.next_power_of_2(forward.conv_weight.shape[-1]),
        BLOCK_M=triton.next_power_of_2(num_rows),
        BLOCK_R=triton.next_power_of_2(num_rank),
        BLOCK_N=triton.next_power_of_2(num_states),
        num_warps=NUM_WARPS,
    )
    return packed


@triton.jit
def copy_matrix(source, target, e, channels, NUM_COLUMNS: tl.constexpr, BLOCK: tl.constexpr):
    """Rows of the channels, (E, columns)."""
    column = tl.arange(0, BLOCK)[None, :]
    inside = (e < channels)[:, None] & (column < NUM_COLUMNS)
    at = e[:, None] * NUM_COLUMNS + column
    tl.store(target + at, tl.load(source + at, mask=inside, other=0.0), mask=inside)


@triton.jit
def copy_direction(
    conv_weight,
    conv_bias,
    x_weight,
    dt_weight,
    dt_bias,
    A_log,
    D,
    to_conv_weight,
    to_conv_bias,
    to_x_weight,
    to_dt_weight,
    to_dt_bias,
    to_rates,
    to_D,
    g,
    channels,
    NUM_TAPS: tl.constexpr,
    NUM_ROWS: tl.constexpr,
    NUM_RANK: tl.constexpr,
    NUM_STATES: tl.constexpr,
    IS_FLOAT64: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Bring over a block of channels of direction `g`."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    e = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E)
    e_in = e < channels
    here = g * channels
    tl.store(to_conv_bias + here + e, tl.load(conv_bias + e, mask=e_in), mask=e_in)
    tl.store(to_dt_bias + here + e, tl.load(dt_bias + e, mask=e_in), mask=e_in)
    tl.store(to_D + here + e, tl.load(D + e, mask=e_in), mask=e_in)
    copy_matrix(conv_weight, to_conv_weight + here * NUM_TAPS, e, channels, NUM_TAPS, BLOCK_K)
    copy_matrix(dt_weight, to_dt_weight + here * NUM_RANK, e, channels, NUM_RANK, BLOCK_R)

    m = tl.arange(0, BLOCK_M)[:, None]
    inside = (m < NUM_ROWS) & e_in[None, :]
    value = tl.load(x_weight + m * channels + e[None, :], mask=inside, other=0.0)
    row = tl.where(m < NUM_RANK, m + NUM_ROWS - NUM_RANK, m - NUM_RANK)
    tl.store(to_x_weight + (g * NUM_ROWS + row) * channels + e[None, :], value, mask=inside)

    n = tl.arange(0, BLOCK_N)[None, :]
    inside = e_in[:, None] & (n < NUM_STATES)
    log_rate = tl.load(A_log + e[:, None] * NUM_STATES + n, mask=inside, other=0.0).to(ACC)
    at = (g * NUM_STATES + n) * channels + e[:, None]
    tl.store(to_rates + at, -tl.exp(log_rate), mask=inside)


@triton.jit
def pack_kernel(
    conv_weight,
    conv_bias,
    x_weight,
    dt_weight,
    dt_bias,
    A_log,
    D,
    conv_weight_b,
    conv_bias_b,
    x_weight_b,
    dt_weight_b,
    dt_bias_b,
    A_log_b,
    D_b,
    to_conv_weight,
    to_conv_bias,
    to_x_weight,
    to_dt_weight,
    to_dt_bias,
    to_rates,
    to_D,
    channels,
    NUM_TAPS: tl.constexpr,
    NUM_ROWS: tl.constexpr,
    NUM_RANK: tl.constexpr,
    NUM_STATES: tl.constexpr,
    IS_FLOAT64: tl.constexpr,
    BLOCK_E: tl.constexpr,
    BLOCK_K: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Bring over a block of channels of one of the directions."""
    g = tl.program_id(1)
    if g == 0:
        copy_direction(
            conv_weight,
            conv_bias,
            x_weight,
            dt_weight,
            dt_bias,
            A_log,
            D,
            to_conv_weight,
            to_conv_bias,
            to_x_weight,
            to_dt_weight,
            to_dt_bias,
            to_rates,
            to_D,
            g,
            channels,
            NUM_TAPS,
            NUM_ROWS,
            NUM_RANK,
            NUM_STATES,
            IS_FLOAT64,
            BLOCK_E,
            BLOCK_K,
            BLOCK_M,
            BLOCK_R,
            BLOCK_N,
        )
    else:
        copy_direction(
            conv_weight_b,
            conv_bias_b,
            x_weight_b,
            dt_weight_b,
            dt_bias_b,
            A_log_b,
            D_b,
            to_conv_weight,
            to_conv_bias,
            to_x_weight,
            to_dt_weight,
            to_dt_bias,
            to_rates,
            to_D,
            g,
            channels,
            NUM_TAPS,
            NUM_ROWS,
            NUM_RANK,
            NUM_STATES,
            IS_FLOAT64,
            BLOCK_E,
            BLOCK_K,
            BLOCK_M,
            BLOCK_R,
            BLOCK_N,
        )
