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

import math
from collections.abc import Callable, Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from model_zoo.kernels._threads import one_thread

WIDE_ELEMENTS: Final = 4096  # of a step from which on a call costs less than its arithmetic
MAX_SINGLE_LEVEL: Final = 32  # tokens


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """What is summed in: float64 for float64, float32 for all else."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@one_thread()
def forward(k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor) -> Tensor:
    """Average; arguments and result are those of the operator `model_zoo::bi_wkv`."""
    dtype = accumulator_dtype(v.dtype)
    x, num_rows = weighted(k, v), v.shape[0]
    before, after = exclusive_scans(x, torch.exp(-decay.to(dtype)))
    total = before.add_(after).addcmul_(x, torch.exp(bonus.to(dtype)))
    y = total[:, :num_rows].div_(total[:, num_rows:])  # (T, B, C)
    return y.transpose(0, 1).to(v.dtype).contiguous()


@one_thread()
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
    scans = scans or exclusive_scans
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
    grad_v = (e * of_product).transpose(0, 1)
    grad_k = (e * (of_product * v.transpose(0, 1) + of_weight)).transpose(0, 1)
    grad_decay = -ratio * (before * grad_after + after * grad_before).sum((0, 1))
    grad_bonus = own * (x * grad_total).sum((0, 1))
    return (
        grad_k.to(k.dtype).contiguous(),
        grad_v.to(v.dtype).contiguous(),
        grad_decay.to(decay.dtype),
        grad_bonus.to(bonus.dtype),
    )


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
    end = _scan(chunks.unbind(1), before.unbind(1), ratio)
    start = _scan(chunks.unbind(1)[::-1], after.unbind(1)[::-1], ratio)
    if num_chunks > 1:
        distance = torch.arange(size, device=x.device, dtype=x.dtype)[:, None, None]
        powers = ratio**distance  # (S, 1, C)
        carried = torch.empty_like(end)
        _scan(end.unbind(0), carried.unbind(0), ratio**size)
        before.addcmul_(carried.unsqueeze(1), powers)
        _scan(start.unbind(0)[::-1], carried.unbind(0)[::-1], ratio**size)
        after.addcmul_(carried.unsqueeze(1), powers.flip(0))
    return before.flatten(0, 1)[:num_tokens], after.flatten(0, 1)[:num_tokens]


def _chunk_tokens(num_tokens: int, step_elements: int) -> int:
    if num_tokens <= MAX_SINGLE_LEVEL or step_elements >= WIDE_ELEMENTS:
        return num_tokens
    return math.isqrt(num_tokens - 1) + 1


def _scan(inputs: Sequence[Tensor], states: Sequence[Tensor], ratio: Tensor) -> Tensor:
    """Write the state before each step; the one after the last comes back."""
    states[0].zero_()
    steps = list(zip(inputs, states, strict=True))
    for (x, state), following in zip(steps, states[1:], strict=False):
        torch.addcmul(x, state, ratio, out=following)
    return torch.addcmul(inputs[-1], states[-1], ratio)
