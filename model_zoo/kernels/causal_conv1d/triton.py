"""The causal convolution for CUDA in Triton: all directions in one launch, channels last.

A program convolves a block of tokens and channels of one batch row and direction; the K shifted
reads of the block come from L1. A reversed direction adds its shifts instead of subtracting them.
The gradient takes two launches: one recomputes what SiLU was applied to and gives the gradient
before it and partial sums for the taps, one gathers the input's gradient over taps and directions.
Sums over programs are torch's, so that the result is deterministic.

Legend: G directions, B batch, L tokens, E channels, K taps.
"""

from collections.abc import Sequence
from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from model_zoo.kernels.causal_conv1d.cpu import accumulator_dtype

BLOCK_TOKENS: Final = 32
BLOCK_TOKENS_FORWARD: Final = 64  # to load and widen the taps less often; backward lacks registers
BLOCK_CHANNELS: Final = 64
LOG2_E: Final = tl.constexpr(1.4426950408889634)
LAUNCH_OPTIONS: Final = {"num_warps": 4, "enable_fp_fusion": True}


def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, reverse: Sequence[bool], silu: bool
) -> Tensor:
    """Convolve; arguments and result are those of the operator `model_zoo::causal_conv1d`."""
    y = x.new_empty(weight.shape[0], *x.shape)
    arguments, constants = _arguments(x, weight, bias, reverse)
    constants["BLOCK_L"] = BLOCK_TOKENS_FORWARD
    grid = _grid(x, len(reverse), BLOCK_TOKENS_FORWARD)
    convolve_kernel[grid](y, *arguments, **constants, SILU=silu, **LAUNCH_OPTIONS)
    return y


def backward(
    grad: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    reverse: Sequence[bool],
    silu: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Differentiate; see the operator `model_zoo::causal_conv1d_backward`."""
    batch, length, channels = x.shape
    num_directions, _, num_taps = weight.shape
    dtype = accumulator_dtype(x.dtype)
    grad_y = x.new_empty(grad.shape, dtype=dtype)
    num_blocks = triton.cdiv(length, BLOCK_TOKENS)
    partial = x.new_empty((num_blocks, num_directions, batch, num_taps + 1, channels), dtype=dtype)
    arguments, constants = _arguments(x, weight, bias, reverse)
    grid = _grid(x, num_directions, BLOCK_TOKENS)
    taps_gradient_kernel[grid](
        grad.contiguous(), grad_y, partial, *arguments, **constants, SILU=silu, **LAUNCH_OPTIONS
    )
    grad_x = x.new_empty(x.shape)
    input_gradient_kernel[grid[0], grid[1], batch](
        grad_y, grad_x, *arguments, **constants, NUM_DIRECTIONS=num_directions, **LAUNCH_OPTIONS
    )
    sums = partial.sum((0, 2))  # (G, K + 1, E)
    grad_weight = sums[:, :num_taps].transpose(1, 2)
    grad_bias = x.new_empty(0) if bias is None else sums[:, num_taps].to(bias.dtype)
    return grad_x, grad_weight.to(weight.dtype).contiguous(), grad_bias


def _arguments(
    x: Tensor, weight: Tensor, bias: Tensor | None, reverse: Sequence[bool]
) -> tuple[tuple[Any, ...], dict[str, int]]:
    """What every kernel ends with: operands and sizes, and compile-time constants."""
    x = x if x.stride(-1) == 1 else x.contiguous()
    batch, length, channels = x.shape
    bias = None if bias is None else bias.contiguous()
    sizes = (*x.stride()[:2], batch, length, channels)
    constants = {
        "REVERSED": sum(flag << g for g, flag in enumerate(reverse)),
        "NUM_TAPS": weight.shape[-1],
        "IS_FLOAT64": x.dtype == torch.float64,
        "BLOCK_L": BLOCK_TOKENS,
        "BLOCK_E": BLOCK_CHANNELS,
    }
    return (x, weight.contiguous(), bias, *sizes), constants


def _grid(x: Tensor, num_directions: int, block_tokens: int) -> tuple[int, int, int]:
    batch, length, channels = x.shape
    blocks = (triton.cdiv(length, block_tokens), triton.cdiv(channels, BLOCK_CHANNELS))
    return (*blocks, num_directions * batch)


@triton.jit
def sigmoid(x):
    """Logistic function; in float32 without the care that exp takes of numbers below 1e-38."""
    if x.dtype == tl.float64:
        return tl.sigmoid(x)
    else:
        return 1.0 / (1.0 + tl.exp2(x * -LOG2_E))


@triton.jit
def shifted(x, t, e, shift, x_b, x_l, b, length, channels, ACC: tl.constexpr):
    """The tile of tokens t + shift, zero outside of the clip."""
    source = t + shift
    inside = (source >= 0) & (source < length) & (e < channels)
    return tl.load(x + b * x_b + source * x_l + e, mask=inside, other=0.0).to(ACC)


@triton.jit
def before_silu(
    x,
    weight,
    bias,
    t,
    e,
    look,
    x_b,
    x_l,
    g,
    b,
    length,
    channels,
    NUM_TAPS: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_E: tl.constexpr,
    ACC: tl.constexpr,
):
    """The convolution of a tile; `look` is 1 for a direction that looks ahead, else -1."""
    total = tl.zeros([BLOCK_L, BLOCK_E], ACC)
    if bias is not None:
        total += tl.load(bias + g * channels + e, mask=e < channels, other=0.0).to(ACC)
    for k in tl.static_range(NUM_TAPS):
        at = (g * channels + e) * NUM_TAPS + k
        tap = tl.load(weight + at, mask=e < channels, other=0.0).to(ACC)
        shift = look * (NUM_TAPS - 1 - k)
        total += tap * shifted(x, t, e, shift, x_b, x_l, b, length, channels, ACC)
    return total


@triton.jit
def convolve_kernel(
    y,
    x,
    weight,
    bias,
    x_b,
    x_l,
    batch,
    length,
    channels,
    REVERSED: tl.constexpr,
    NUM_TAPS: tl.constexpr,
    IS_FLOAT64: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_E: tl.constexpr,
    SILU: tl.constexpr,
):
    """Convolve a block of tokens and channels of one direction and batch row."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    row = tl.program_id(2).to(tl.int64)
    g, b = row // batch, row % batch
    t = (tl.program_id(0) * BLOCK_L + tl.arange(0, BLOCK_L))[:, None]
    e = (tl.program_id(1) * BLOCK_E + tl.arange(0, BLOCK_E))[None, :]
    look = 2 * ((REVERSED >> g) & 1) - 1
    total = before_silu(
        x,
        weight,
        bias,
        t,
        e,
        look,
        x_b,
        x_l,
        g,
        b,
        length,
        channels,
        NUM_TAPS,
        BLOCK_L,
        BLOCK_E,
        ACC,
    )
    if SILU:
        total = total * sigmoid(total)
    inside = (t < length) & (e < channels)
    tl.store(y + (row * length + t) * channels + e, total, mask=inside)


@triton.jit
def taps_gradient_kernel(
    grad,
    grad_y,
    partial,
    x,
    weight,
    bias,
    x_b,
    x_l,
    batch,
    length,
    channels,
    REVERSED: tl.constexpr,
    NUM_TAPS: tl.constexpr,
    IS_FLOAT64: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_E: tl.constexpr,
    SILU: tl.constexpr,
):
    """The gradient before SiLU, and its sums over a block's tokens for each tap and the bias."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    row = tl.program_id(2).to(tl.int64)
    g, b = row // batch, row % batch
    t = (tl.program_id(0) * BLOCK_L + tl.arange(0, BLOCK_L))[:, None]
    e = (tl.program_id(1) * BLOCK_E + tl.arange(0, BLOCK_E))[None, :]
    look = 2 * ((REVERSED >> g) & 1) - 1
    inside = (t < length) & (e < channels)
    here = (row * length + t) * channels + e
    dy = tl.load(grad + here, mask=inside, other=0.0).to(ACC)
    if SILU:
        total = before_silu(
            x,
            weight,
            bias,
            t,
            e,
            look,
            x_b,
            x_l,
            g,
            b,
            length,
            channels,
            NUM_TAPS,
            BLOCK_L,
            BLOCK_E,
            ACC,
        )
        slope = sigmoid(total)
        dy = dy * slope * (1.0 + total * (1.0 - slope))
    tl.store(grad_y + here, dy, mask=inside)

    sums = partial + (tl.program_id(0) * tl.num_programs(2) + row) * (NUM_TAPS + 1) * channels
    column = tl.program_id(1) * BLOCK_E + tl.arange(0, BLOCK_E)
    for k in tl.static_range(NUM_TAPS):
        shift = look * (NUM_TAPS - 1 - k)
        product = dy * shifted(x, t, e, shift, x_b, x_l, b, length, channels, ACC)
        tl.store(sums + k * channels + column, tl.sum(product, axis=0), mask=column < channels)
    tl.store(sums + NUM_TAPS * channels + column, tl.sum(dy, axis=0), mask=column < channels)


@triton.jit
def input_gradient_kernel(
    grad_y,
    grad_x,
    x,
    weight,
    bias,
    x_b,
    x_l,
    batch,
    length,
    channels,
    REVERSED: tl.constexpr,
    NUM_TAPS: tl.constexpr,
    IS_FLOAT64: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_E: tl.constexpr,
    NUM_DIRECTIONS: tl.constexpr,
):
    """Gather the gradient of a block of tokens and channels from every tap and direction."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    b = tl.program_id(2).to(tl.int64)
    t = (tl.program_id(0) * BLOCK_L + tl.arange(0, BLOCK_L))[:, None]
    e = (tl.program_id(1) * BLOCK_E + tl.arange(0, BLOCK_E))[None, :]
    total = tl.zeros([BLOCK_L, BLOCK_E], ACC)
    for g in tl.static_range(NUM_DIRECTIONS):
        of_direction = grad_y + (g * batch + b) * length * channels
        for k in tl.static_range(NUM_TAPS):
            at = (g * channels + e) * NUM_TAPS + k
            tap = tl.load(weight + at, mask=e < channels, other=0.0).to(ACC)
            shift = (1 - 2 * ((REVERSED >> g) & 1)) * (NUM_TAPS - 1 - k)
            total += tap * shifted(of_direction, t, e, shift, 0, channels, 0, length, channels, ACC)
    inside = (t < length) & (e < channels)
    tl.store(grad_x + (b * length + t) * channels + e, total, mask=inside)
