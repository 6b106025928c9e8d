"""Bi-WKV in plain torch, as sums from both ends of the tokens.

With e_i = exp(k_i - max k), numerator and denominator are the same linear, symmetric and
time-invariant map of e v and of e: two exclusive scans and the token itself. So there is one
exponential an element, the gradients need the same scans only, and the shift cancels.

Few rows with many tokens are scanned on two levels, all chunks at once, then the chunks' ends: a
step then works on many elements instead of a few. Nothing here is specific to CPUs: it is also
what CUDA falls back to without Triton.

Legend: B batch, T tokens, C channels, P planes (numerators and denominators of all rows), S tokens
of a chunk. Arrays are (T, P, C), so that a step reads and writes whole planes.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from model_zoo.kernels import _recurrence
from model_zoo.kernels._threads import added_in_order, run_tasks

WIDE_ELEMENTS: Final = 4096  # of a step from which on a call costs less than its arithmetic
MAX_SINGLE_LEVEL: Final = 32  # tokens
BLOCK_ROWS: Final = 4
BLOCK_CHANNELS: Final = 96
BLOCK_ELEMENTS: Final = 2**17  # of a row: with fewer, to wake a thread is not worth it


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """What is summed in: float64 for float64, float32 for all else."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def forward(k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor) -> Tensor:
    """Average; arguments and result are those of the operator `model_zoo::bi_wkv`."""
    y = v.new_empty(v.shape)
    tasks = (
        functools.partial(
            _average, *block.cut(k, v), *block.channels_of(decay, bonus), *block.cut(y)
        )
        for block in _blocks(v)
    )
    run_tasks(tasks, device=v.device)
    return y


def _average(k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor, y: Tensor) -> None:
    """Fill `y`."""
    dtype = accumulator_dtype(v.dtype)
    x, num_rows = weighted(k, v), v.shape[0]
    before, after = exclusive_scans(x, torch.exp(-decay.to(dtype)))
    total = before.add_(after).addcmul_(x, torch.exp(bonus.to(dtype)))
    y.transpose(0, 1).copy_(total[:, :num_rows].div_(total[:, num_rows:]))  # (T, B, C)


def backward(
    grad: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    bonus: Tensor,
    *,
    scans: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Differentiate; see the operator `model_zoo::bi_wkv_backward`.

    Args:
        scans: Another form of `exclusive_scans`.
    """
    blocks = _blocks(v) if scans is None else [Block(slice(0, len(v)), slice(0, v.shape[2]), 0)]
    num_row_blocks = 1 + max(block.index for block in blocks)
    grad_k, grad_v = k.new_empty(k.shape), v.new_empty(v.shape)
    # sums over rows, of each block of them
    parts = v.new_empty(2, num_row_blocks, v.shape[2], dtype=accumulator_dtype(v.dtype))
    tasks = (
        functools.partial(
            _differentiate,
            (*block.cut(grad, k, v), *block.channels_of(decay, bonus)),
            (*block.cut(grad_k, grad_v), *block.channels_of(*parts[:, block.index])),
            scans or exclusive_scans,
        )
        for block in blocks
    )
    run_tasks(tasks, device=v.device)
    grad_decay, grad_bonus = map(added_in_order, parts)
    return grad_k, grad_v, grad_decay.to(decay.dtype), grad_bonus.to(bonus.dtype)


def _differentiate(
    operands: Sequence[Tensor],
    results: Sequence[Tensor],
    scans: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
) -> None:
    """Fill the four `results`."""
    grad, k, v, decay, bonus = operands
    dtype = accumulator_dtype(v.dtype)
    ratio, own = torch.exp(-decay.to(dtype)), torch.exp(bonus.to(dtype))
    x, num_rows = weighted(k, v), v.shape[0]
    before, after = scans(x, ratio)
    total = before + after + own * x
    numerator, denominator = total[:, :num_rows], total[:, num_rows:]
    grad_numerator = grad.transpose(0, 1) / denominator  # (T, B, C)
    grad_total = torch.cat((grad_numerator, -grad_numerator * numerator / denominator), dim=1)

    grad_before, grad_after = scans(grad_total, ratio)
    grad_x = grad_before + grad_after + own * grad_total
    e, of_product, of_weight = x[:, num_rows:], grad_x[:, :num_rows], grad_x[:, num_rows:]
    of_k, of_v, of_decay, of_bonus = results
    of_v.transpose(0, 1).copy_(e * of_product)
    of_k.transpose(0, 1).copy_(e * (of_product * v.transpose(0, 1) + of_weight))
    of_decay.copy_(-ratio * (before * grad_after + after * grad_before).sum((0, 1)))
    of_bonus.copy_(own * (x * grad_total).sum((0, 1)))


@dataclass(frozen=True, slots=True)
class Block:
    """What one task computes, whatever the number of threads: results then have the same bits."""

    rows: slice
    channels: slice
    index: int  # among the blocks of the same channels

    def cut(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """Its part of arrays (B, T, C)."""
        return tuple(x[self.rows, :, self.channels] for x in arrays)

    def channels_of(self, *arrays: Tensor) -> tuple[Tensor, ...]:
        """Its part of arrays (C,)."""
        return tuple(x[self.channels] for x in arrays)


def _blocks(v: Tensor) -> list[Block]:
    """All rows and channels; a GPU has them at once."""
    num_rows, num_tokens, channels = v.shape
    most_rows, num_blocks = num_rows, 1
    if v.device.type == "cpu":
        most_rows = BLOCK_ROWS
        num_blocks = max(1, channels // max(BLOCK_CHANNELS, BLOCK_ELEMENTS // num_tokens))
    return [
        Block(rows, of_channels, index)
        for of_channels in _spans(channels, -(-channels // num_blocks))
        for index, rows in enumerate(_spans(num_rows, most_rows))
    ]


def _spans(size: int, most: int) -> Iterator[slice]:
    return (slice(start, min(start + most, size)) for start in range(0, size, most))


def weighted(k: Tensor, v: Tensor) -> Tensor:
    """Weighted values, then weights: (T, 2 B, C), the largest weight of a channel being 1."""
    num_rows, num_tokens, channels = v.shape
    dtype = accumulator_dtype(v.dtype)
    x = v.new_empty(num_tokens, 2 * num_rows, channels, dtype=dtype)
    shifted = k.transpose(0, 1).to(dtype) - k.amax(dim=1).to(dtype)  # (T, B, C)
    torch.exp(shifted, out=x[:, num_rows:])
    torch.mul(x[:, num_rows:], v.transpose(0, 1).to(dtype), out=x[:, :num_rows])
    return x


def exclusive_scans(x: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of ratio ** (distance - 1) x over the tokens before, and over those after, each token.

    Args:
        x: (T, P, C); both results too.
        ratio: (C,).
    """
    num_tokens = x.shape[0]
    size = _chunk_tokens(num_tokens, x[0].numel())
    num_chunks = -(-num_tokens // size)
    padded = F.pad(x, (0, 0, 0, 0, 0, num_chunks * size - num_tokens))
    chunks = padded.unflatten(0, (num_chunks, size))  # (T / S, S, P, C)
    before, after = torch.empty_like(chunks), torch.empty_like(chunks)
    end = _scan(chunks.transpose(0, 1), before.transpose(0, 1), ratio)
    start = _scan(chunks.transpose(0, 1), after.transpose(0, 1), ratio, is_reversed=True)
    if num_chunks > 1:
        distance = torch.arange(size, device=x.device, dtype=x.dtype)[:, None, None]
        powers = ratio**distance  # (S, 1, C)
        carried = torch.empty_like(end)
        _scan(end, carried, ratio**size)
        before.addcmul_(carried.unsqueeze(1), powers)
        _scan(start, carried, ratio**size, is_reversed=True)
        after.addcmul_(carried.unsqueeze(1), powers.flip(0))
    return before.flatten(0, 1)[:num_tokens], after.flatten(0, 1)[:num_tokens]


def _chunk_tokens(num_tokens: int, step_elements: int) -> int:
    if num_tokens <= MAX_SINGLE_LEVEL or step_elements >= WIDE_ELEMENTS:
        return num_tokens
    return math.isqrt(num_tokens - 1) + 1


def _scan(x: Tensor, states: Tensor, ratio: Tensor, *, is_reversed: bool = False) -> Tensor:
    """Write the state before each step of the first axis; the one after the last comes back."""
    if is_reversed:
        first, others, increments, last = states[-1], states[:-1], x[1:], x[0]
    else:
        first, others, increments, last = states[0], states[1:], x[:-1], x[-1]
    first.zero_()
    steps = others.copy_(increments).unbind(0)
    state = first
    if steps:
        in_order = steps[::-1] if is_reversed else steps
        state = _recurrence.run(in_order, (ratio,) * len(steps), first)
    return torch.addcmul(last, state, ratio)
