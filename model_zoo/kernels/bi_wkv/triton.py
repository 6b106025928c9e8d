"""Bi-WKV for CUDA in Triton, channels next to each other in memory, tokens split over programs.

One kernel leaves each chunk's sums at its end (for the tokens after it) and at its start (for
those before). In the next a program adds up what the other chunks' sums have become on the way to
its own, walks its chunk from the last token to the first and leaves the sums over the tokens after
each, then walks it the other way and divides. In the backward pass the same kernels scan planes
that exist already; what remains is elementwise.

Not measured on a GPU yet. The sums between the two walks go through memory: 16 of about 28 bytes an
element in half precision.

Legend: B batch, T tokens, C channels, S tokens of a chunk.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from model_zoo.kernels.bi_wkv import cpu

BLOCK_CHANNELS: Final = 32  # the lanes of a warp
NUM_WARPS: Final = 1
MIN_CHUNK_TOKENS: Final = 16
NUM_PROGRAMS: Final = 2112  # of one warp, that fill an H100: 132 SM x 4 schedulers x 4
LOG2_E: Final = tl.constexpr(1.4426950408889634)


def forward(k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor) -> Tensor:
    """Average; arguments and result are those of the operator `model_zoo::bi_wkv`."""
    dtype = cpu.accumulator_dtype(v.dtype)
    batch, num_tokens, channels = v.shape
    split = Split.of(batch, num_tokens, channels)
    k, v = k.contiguous(), v.contiguous()
    largest = k.amax(dim=1)
    ratio, own = torch.exp(-decay.to(dtype)), torch.exp(bonus.to(dtype))
    y = v.new_empty(v.shape)
    after = v.new_empty((2, *v.shape), dtype=dtype)
    strides = (num_tokens * channels, channels, v.numel())
    _run(split, (k, v, largest), ratio, own, (y, after), strides, dtype, from_keys=True)
    return y


def backward(
    grad: Tensor, k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differentiate; see the operator `model_zoo::bi_wkv_backward`."""
    return cpu.backward(grad, k, v, decay, bonus, scans=exclusive_scans)


def exclusive_scans(x: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """As `cpu.exclusive_scans`, numerators in the first half of the planes: (T, 2 B, C)."""
    num_tokens, num_planes, channels = x.shape
    batch = num_planes // 2
    split = Split.of(batch, num_tokens, channels)
    before, after = torch.empty_like(x), torch.empty_like(x)
    strides = (channels, num_planes * channels, batch * channels)
    operands = (x, None, None)
    _run(split, operands, ratio, None, (before, after), strides, x.dtype, from_keys=False)
    return before, after


@dataclass(frozen=True, slots=True)
class Split:
    """How the tokens are shared out; the carries of all chunks cost about what a chunk costs."""

    batch: int
    num_tokens: int
    channels: int
    chunk_tokens: int

    @classmethod
    def of(cls, batch: int, num_tokens: int, channels: int) -> "Split":
        """As many chunks as fill the device, but not more than pay."""
        num_blocks = batch * triton.cdiv(channels, BLOCK_CHANNELS)
        num_chunks = min(
            triton.cdiv(NUM_PROGRAMS, num_blocks),
            math.isqrt(3 * num_tokens),
            triton.cdiv(num_tokens, MIN_CHUNK_TOKENS),
        )
        return cls(batch, num_tokens, channels, triton.cdiv(num_tokens, max(num_chunks, 1)))

    @property
    def num_chunks(self) -> int:
        """None of them empty."""
        return triton.cdiv(self.num_tokens, self.chunk_tokens)


def _run(
    split: Split,
    operands: tuple[Tensor | None, ...],
    ratio: Tensor,
    own: Tensor | None,
    results: tuple[Tensor, Tensor],
    strides: tuple[int, ...],
    dtype: torch.dtype,
    *,
    from_keys: bool,
) -> None:
    chunk_ratio = ratio**split.chunk_tokens
    ends = ratio.new_empty(4, split.batch, split.num_chunks, split.channels)
    grid = (triton.cdiv(split.channels, BLOCK_CHANNELS), split.num_chunks, split.batch)
    sizes = (*strides, split.num_tokens, split.channels, split.chunk_tokens)
    constants: dict[str, Any] = {
        "FROM_KEYS": from_keys,
        "BLOCK_C": BLOCK_CHANNELS,
        "IS_FLOAT64": dtype == torch.float64,
        "num_warps": NUM_WARPS,
    }
    ends_kernel[grid](*operands, ratio, ends, *sizes, **constants)
    scan_kernel[grid](*operands, ratio, chunk_ratio, own, ends, *results, *sizes, **constants)


@triton.jit
def weighted(k, v, largest, at, plane, inside, FROM_KEYS: tl.constexpr, IS_FLOAT64: tl.constexpr):
    """Weighted value and weight of a token, from key and value or from two planes of `k`."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    if FROM_KEYS:
        shifted = tl.load(k + at, mask=inside, other=0.0).to(ACC) - largest
        e = tl.exp(shifted) if IS_FLOAT64 else tl.exp2(shifted * LOG2_E)
        return e * tl.load(v + at, mask=inside, other=0.0).to(ACC), e
    else:
        product = tl.load(k + at, mask=inside, other=0.0)
        return product, tl.load(k + plane + at, mask=inside, other=0.0)


@triton.jit
def ends_kernel(
    k,
    v,
    largest,
    ratio,
    ends,
    stride_b,
    stride_t,
    plane,
    num_tokens,
    channels,
    chunk_tokens,
    FROM_KEYS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    IS_FLOAT64: tl.constexpr,
):
    """Sums of one chunk as the token after it sees them, and as the token before it does."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    chunk = tl.program_id(1)
    b = tl.program_id(2).to(tl.int64)
    inside = c < channels
    r = tl.load(ratio + c, mask=inside, other=0.0)
    top = tl.zeros([BLOCK_C], ACC)
    if FROM_KEYS:
        top = tl.load(largest + b * channels + c, mask=inside, other=0.0).to(ACC)
    at = b * stride_b + chunk.to(tl.int64) * chunk_tokens * stride_t + c

    product_at_end = tl.zeros([BLOCK_C], ACC)
    weight_at_end = tl.zeros([BLOCK_C], ACC)
    product_at_start = tl.zeros([BLOCK_C], ACC)
    weight_at_start = tl.zeros([BLOCK_C], ACC)
    power = tl.full([BLOCK_C], 1.0, ACC)
    for _ in range(tl.minimum(chunk_tokens, num_tokens - chunk * chunk_tokens)):
        product, weight = weighted(k, v, top, at, plane, inside, FROM_KEYS, IS_FLOAT64)
        product_at_end = product_at_end * r + product
        weight_at_end = weight_at_end * r + weight
        product_at_start += power * product
        weight_at_start += power * weight
        power = power * r
        at += stride_t

    num_chunks = tl.num_programs(1)
    quantity = tl.num_programs(2) * num_chunks * channels
    out = ends + (b * num_chunks + chunk) * channels + c
    tl.store(out, product_at_end, mask=inside)
    tl.store(out + quantity, weight_at_end, mask=inside)
    tl.store(out + 2 * quantity, product_at_start, mask=inside)
    tl.store(out + 3 * quantity, weight_at_start, mask=inside)


@triton.jit
def scan_kernel(
    k,
    v,
    largest,
    ratio,
    chunk_ratio,
    own,
    ends,
    result,
    after,
    stride_b,
    stride_t,
    plane,
    num_tokens,
    channels,
    chunk_tokens,
    FROM_KEYS: tl.constexpr,
    BLOCK_C: tl.constexpr,
    IS_FLOAT64: tl.constexpr,
):
    """Averages of one chunk's tokens; from planes, the sums before each token instead."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    c = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    chunk = tl.program_id(1)
    num_chunks = tl.num_programs(1)
    b = tl.program_id(2).to(tl.int64)
    inside = c < channels
    r = tl.load(ratio + c, mask=inside, other=0.0)
    top = tl.zeros([BLOCK_C], ACC)
    own_weight = tl.zeros([BLOCK_C], ACC)
    if FROM_KEYS:
        top = tl.load(largest + b * channels + c, mask=inside, other=0.0).to(ACC)
        own_weight = tl.load(own + c, mask=inside, other=1.0)  # no 0 / 0 outside

    across = tl.load(chunk_ratio + c, mask=inside, other=0.0)
    quantity = tl.num_programs(2) * num_chunks * channels
    of_row = ends + b * num_chunks * channels + c
    product = tl.zeros([BLOCK_C], ACC)
    weight = tl.zeros([BLOCK_C], ACC)
    for step in range(num_chunks - 1 - chunk):
        start = of_row + 2 * quantity + (num_chunks - 1 - step) * channels
        product = product * across + tl.load(start, mask=inside, other=0.0)
        weight = weight * across + tl.load(start + quantity, mask=inside, other=0.0)
    length = tl.minimum(chunk_tokens, num_tokens - chunk * chunk_tokens)
    first = b * stride_b + chunk.to(tl.int64) * chunk_tokens * stride_t + c
    at = first + (length - 1) * stride_t
    for _ in range(length):
        tl.store(after + at, product, mask=inside)
        tl.store(after + plane + at, weight, mask=inside)
        x, e = weighted(k, v, top, at, plane, inside, FROM_KEYS, IS_FLOAT64)
        product = product * r + x
        weight = weight * r + e
        at -= stride_t
    # Each thread reads back only what it wrote, but a barrier keeps the order explicit.
    tl.debug_barrier()

    product = tl.zeros([BLOCK_C], ACC)
    weight = tl.zeros([BLOCK_C], ACC)
    for step in range(chunk):
        end = of_row + step * channels
        product = product * across + tl.load(end, mask=inside, other=0.0)
        weight = weight * across + tl.load(end + quantity, mask=inside, other=0.0)
    at = first
    for _ in range(length):
        x, e = weighted(k, v, top, at, plane, inside, FROM_KEYS, IS_FLOAT64)
        if FROM_KEYS:
            numerator = product + tl.load(after + at, mask=inside, other=0.0) + own_weight * x
            denominator = (
                weight + tl.load(after + plane + at, mask=inside, other=0.0) + own_weight * e
            )
            tl.store(result + at, numerator / denominator, mask=inside)
        else:
            tl.store(result + at, product, mask=inside)
            tl.store(result + plane + at, weight, mask=inside)
        product = product * r + x
        weight = weight * r + e
        at += stride_t
