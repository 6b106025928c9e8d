"""What packing is given and gives. Legend: as in the package's docstring."""

from typing import NamedTuple

import torch
from torch import Tensor


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """What is not multiplied in products is kept in: float64 for float64, else float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


class Direction(NamedTuple):
    """One direction's parameters, or their gradients, as the official code shapes them."""

    conv_weight: Tensor  # (E, 1, K)
    conv_bias: Tensor  # (E,)
    x_weight: Tensor  # (R + 2 N, E), rows of the step size, of B and of C
    dt_weight: Tensor  # (E, R)
    dt_bias: Tensor  # (E,)
    A_log: Tensor  # (E, N)
    D: Tensor  # (E,)


class Packed(NamedTuple):
    """Both directions' operands; products take the type of the tokens, all else is wide."""

    conv_weight: Tensor  # (G, E, K)
    conv_bias: Tensor  # (G, E)
    x_weight: Tensor  # (G, 2 N + R, E), rows of B, of C and of the step size
    dt_weight: Tensor  # (G, E, R)
    dt_bias: Tensor  # (G, E)
    rates: Tensor  # (G, N, E), -exp(A_log) as the scan walks it
    D: Tensor  # (G, E)


def empty(like: Direction, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Room for the operands, in the order of `Packed`."""
    channels, num_states = like.A_log.shape
    wide = accumulator_dtype(dtype)

    def room(*shape: int, dtype: torch.dtype = wide) -> Tensor:
        return like.D.new_empty((2, *shape), dtype=dtype)

    return (
        room(channels, like.conv_weight.shape[-1]),
        room(channels),
        room(*like.x_weight.shape, dtype=dtype),
        room(*like.dt_weight.shape, dtype=dtype),
        room(channels),
        room(num_states, channels),
        room(channels),
    )
