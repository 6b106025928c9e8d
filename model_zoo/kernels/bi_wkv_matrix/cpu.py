"""The matrix-valued Bi-WKV in plain torch, by halving: no loop over tokens, no division.

Two neighbouring blocks of b tokens see each other across the boundary between them: what passes
decays by the distance of its source from the boundary and by that of its reader, so that

    y_right += (decay^i r)_right ((decay^j k)_left^T v_left),   and the same from right to left.

Any two tokens are parted by the boundary of exactly one pair of blocks of b = 1, 2, 4, ... tokens.
Exponents are distances, never negative: nothing overflows, whatever the decay. The outer brackets
are multiplied out first where b >= D, so that the work is at most O(D) a level and element, with
log2 N levels. Nothing here is specific to CPUs: it is also what CUDA falls back to without Triton.

Legend: R batch rows, H heads, N tokens, D channels of a head, M pairs of blocks, L their tokens.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

BOTH_WAYS: Final = ((1, 0), (0, 1))  # the half that reads, the half that is read: 0 is the left one


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """What the state is kept in: float64 for float64, float32 for all else."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def forward(r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor) -> Tensor:
    """Read; arguments and result are those of the operator `model_zoo::bi_wkv_matrix`."""
    result_dtype = v.dtype
    readers = torch.stack([_heads_first(x, result_dtype) for x in (r, k)])  # (2, R, H, N, D)
    v = _heads_first(v, result_dtype).contiguous()
    y = (readers[0] * _per_head(bonus, v.dtype) * readers[1]).sum(-1, keepdim=True) * v
    decays = _by_distance(_powers(log_decay.to(v.dtype), v.shape[2]))
    for pairs in _levels(v.shape[2]):
        r_half, k_half = map(pairs.halves, pairs.near(readers, decays))
        v_half, out = pairs.halves(pairs.of(v)), pairs.halves(pairs.of(y))
        for reader, source in BOTH_WAYS:
            out[reader].add_(_read(r_half[reader], k_half[source], v_half[source]))
    return _tokens_first(y, result_dtype)


def backward(
    grad: Tensor, r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Differentiate; see the operator `model_zoo::bi_wkv_matrix_backward`."""
    types = (r.dtype, k.dtype, v.dtype)
    readers = torch.stack([_heads_first(x, v.dtype) for x in (r, k)])  # (2, R, H, N, D)
    grad, v = (_heads_first(x, v.dtype).contiguous() for x in (grad, v))
    own, rate = _per_head(bonus, v.dtype), log_decay.to(v.dtype)
    of_own_weight = (grad * v).sum(-1, keepdim=True)  # (R, H, N, 1)
    of_readers = of_own_weight * own * readers.flip(0)
    product = readers[0] * readers[1]
    grad_v = (product * own).sum(-1, keepdim=True) * grad
    grad_bonus = (of_own_weight * product).sum((0, 2))  # (H, D)
    grad_rate = torch.zeros_like(rate)
    powers = _powers(rate, v.shape[2])
    decays = _by_distance(powers)
    distance = torch.arange(powers.shape[1], device=v.device).to(v.dtype)[None, :, None]
    distances = _by_distance(distance)
    for pairs in _levels(v.shape[2]):
        near = pairs.near(readers, decays)
        of_near = torch.empty_like(near)
        v_half, grad_half, of_v_half = (pairs.halves(pairs.of(x)) for x in (v, grad, grad_v))
        r_half, k_half, of_r_half, of_k_half = map(pairs.halves, (*near, *of_near))
        for reader, source in BOTH_WAYS:
            here, there = grad_half[reader], v_half[source]
            of_r_half[reader].copy_(_read(here, there, k_half[source]))
            of_k_half[source].copy_(_read(there, here, r_half[reader]))
            of_v_half[source].add_(_read(k_half[source], r_half[reader], here))
        of_exponent = (near * of_near).sum((0, 1, 3))  # (H, L, D)
        grad_rate += (of_exponent * pairs.across(distances)[:, 0]).sum(1)
        pairs.of(of_readers).addcmul_(of_near, pairs.across(decays))
    return (
        _tokens_first(of_readers[0], types[0]),
        _tokens_first(of_readers[1], types[1]),
        _tokens_first(grad_v, types[2]),
        grad_rate.to(log_decay.dtype),
        grad_bonus.to(bonus.dtype),
    )


@dataclass(frozen=True, slots=True)
class Pairs:
    """Neighbouring blocks of a span of tokens: `num_left` tokens, then as many or fewer."""

    start: int
    num_pairs: int
    num_left: int
    num_right: int

    def of(self, x: Tensor) -> Tensor:
        """The span as a view: (..., N, D) -> (..., M, L, D)."""
        length = self.num_left + self.num_right
        span = x[..., self.start : self.start + self.num_pairs * length, :]
        return span.unflatten(-2, (self.num_pairs, length))  # (..., M, L, D)

    def halves(self, of_pairs: Tensor) -> tuple[Tensor, ...]:
        """Left and right blocks, each (..., M, L / 2 or fewer, D)."""
        return of_pairs.split((self.num_left, self.num_right), dim=-2)

    def across(self, by_distance: Tensor) -> Tensor:
        """What goes with each token's distance from the boundary, a view: (H, 1, L, D)."""
        boundary = by_distance.shape[1] // 2
        return by_distance[:, None, boundary - self.num_left : boundary + self.num_right]

    def near(self, x: Tensor, decays: Tensor) -> Tensor:
        """What of `x` is left at the boundary: (..., N, D) -> (..., M, L, D)."""
        return self.of(x) * self.across(decays)


def _powers(log_decay: Tensor, num_tokens: int) -> Tensor:
    """Decay over every distance from a boundary that occurs: (H, D) -> (H, distances, D)."""
    largest_block = 1 << max(num_tokens - 1, 1).bit_length() - 1
    distance = torch.arange(largest_block, device=log_decay.device).to(log_decay.dtype)
    return torch.exp(log_decay.unsqueeze(1) * distance.unsqueeze(1))


def _by_distance(of_distance: Tensor) -> Tensor:
    """Falling distances to a boundary, then rising ones: (H, distances, D) -> (H, 2 ..., D)."""
    return torch.cat((of_distance.flip(1), of_distance), dim=1)


def _levels(num_tokens: int) -> Iterator[Pairs]:
    """All pairs of blocks of 1, 2, 4, ... tokens, the last of each level perhaps cut short."""
    size = 1
    while size < num_tokens:
        num_pairs, rest = divmod(num_tokens, 2 * size)
        if num_pairs:
            yield Pairs(0, num_pairs, size, size)
        if rest > size:
            yield Pairs(num_tokens - rest, 1, size, rest - size)
        size *= 2


def _read(reader: Tensor, source: Tensor, values: Tensor) -> Tensor:
    """(reader source^T) values, each (R, H, M, tokens, D), in the cheaper order."""
    num_sources, channels = source.shape[-2:]
    if num_sources == 1:
        return (reader * source).sum(-1, keepdim=True) * values
    if num_sources < channels:
        return (reader @ source.transpose(-1, -2)) @ values
    return reader @ (source.transpose(-1, -2) @ values)


def _heads_first(x: Tensor, dtype: torch.dtype) -> Tensor:
    """(R, N, H, D) -> (R, H, N, D) in the accumulator's type."""
    return x.transpose(1, 2).to(accumulator_dtype(dtype))


def _tokens_first(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.transpose(1, 2).to(dtype).contiguous()


def _per_head(x: Tensor, dtype: torch.dtype) -> Tensor:
    return x.to(dtype).unsqueeze(1)  # (H, 1, D)
