"""The causal convolution in plain torch: one shifted multiply-add a tap, channels last.

Legend: G directions, B batch, L tokens, E channels, K taps. A block of tokens is worked on at a
time, so that its K passes stay in cache. Tap k of a causal direction reads the token K-1-k steps
before; of a reversed one, that many after.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from model_zoo.kernels._huge_pages import in_huge_pages
from model_zoo.kernels._threads import one_thread

BLOCK_TOKENS: Final = 256


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """What is summed in: float64 for float64, float32 for all else."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@one_thread()
def forward(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, reverse: Sequence[bool], silu: bool
) -> Tensor:
    """Convolve; arguments and result are those of the operator `model_zoo::causal_conv1d`."""
    y = in_huge_pages(x.new_empty(weight.shape[0], *x.shape))
    taps, shift = _in_accumulator_dtype(x, weight, bias)
    for g, is_reversed in enumerate(reverse):
        for start, stop in _blocks(x.shape[1]):
            block = _convolve(x, taps[g], shift[g], start, stop, is_reversed=is_reversed)
            y[g, :, start:stop] = F.silu(block, inplace=True) if silu else block
    return y


@one_thread()
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
    taps, shift = _in_accumulator_dtype(x, weight, bias)
    length = x.shape[1]
    grad_x = taps.new_zeros(x.shape)
    grad_taps, grad_shift = torch.zeros_like(taps), torch.zeros_like(shift)
    for g, is_reversed in enumerate(reverse):
        for start, stop in _blocks(length):
            grad_y = grad[g, :, start:stop].to(taps.dtype)
            if silu:
                y = _convolve(x, taps[g], shift[g], start, stop, is_reversed=is_reversed)
                grad_y = torch.ops.aten.silu_backward(grad_y, y)
            grad_shift[g] += grad_y.sum((0, 1))
            overlaps = _overlaps(taps.shape[1], start, stop, length, is_reversed=is_reversed)
            for k, inside, read in overlaps:
                grad_taps[g, k] += (grad_y[:, inside] * x[:, read]).sum((0, 1))
                grad_x[:, read].addcmul_(grad_y[:, inside], taps[g, k])
    grad_weight = grad_taps.transpose(1, 2).to(weight.dtype).contiguous()
    grad_bias = x.new_empty(0) if bias is None else grad_shift.to(bias.dtype)
    return grad_x.to(x.dtype), grad_weight, grad_bias


def _in_accumulator_dtype(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Taps (G, K, E) and bias (G, E), zero if there is none."""
    dtype = accumulator_dtype(x.dtype)
    taps = weight.to(dtype).transpose(1, 2).contiguous()
    return taps, taps.new_zeros(taps[:, 0].shape) if bias is None else bias.to(dtype)


def _convolve(
    x: Tensor, taps: Tensor, bias: Tensor, start: int, stop: int, *, is_reversed: bool
) -> Tensor:
    """What SiLU is applied to, of tokens `start` to `stop`: (B, stop - start, E)."""
    y = x.new_empty((x.shape[0], stop - start, x.shape[2]), dtype=taps.dtype)
    y.copy_(bias)
    for k, inside, read in _overlaps(
        taps.shape[0], start, stop, x.shape[1], is_reversed=is_reversed
    ):
        y[:, inside].addcmul_(x[:, read].to(taps.dtype), taps[k])
    return y


def _overlaps(
    num_taps: int, start: int, stop: int, length: int, *, is_reversed: bool
) -> Iterator[tuple[int, slice, slice]]:
    """Of each tap, the tokens of a block that it reaches and the tokens that it reads for them."""
    for k in range(num_taps):
        offset = (num_taps - 1 - k) * (1 if is_reversed else -1)
        first, last = max(start + offset, 0), min(stop + offset, length)
        if first < last:
            inside = slice(first - offset - start, last - offset - start)
            yield k, inside, slice(first, last)


def _blocks(length: int) -> Iterator[tuple[int, int]]:
    for start in range(0, length, BLOCK_TOKENS):
        yield start, min(start + BLOCK_TOKENS, length)
