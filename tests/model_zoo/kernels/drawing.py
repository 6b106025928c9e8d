"""Operands of kernels, drawn so that every test sees the same numbers."""

from typing import Any

import torch
from torch import Tensor

REVERSE = (False, True, True, False)


def normal(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(hash((shape, seed)) % 2**31)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)


def scan_operands(
    num_directions: int,
    batch: int,
    length: int,
    channels: int,
    num_states: int,
    *,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    """Operands by name; what official models keep wide (A, D, the bias) is wide."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    per_token = (num_directions, batch, length)
    return {
        "u": normal(*per_token, channels, dtype=dtype, seed=1),
        "delta": normal(*per_token, channels, dtype=dtype, seed=2),
        "A": -4 * normal(num_directions, channels, num_states, dtype=wide, seed=3).sigmoid(),
        "B": normal(*per_token, num_states, dtype=dtype, seed=4),
        "C": normal(*per_token, num_states, dtype=dtype, seed=5),
        "D": normal(num_directions, channels, dtype=wide, seed=6),
        "z": normal(batch, length, channels, dtype=dtype, seed=7),
        "delta_bias": normal(num_directions, channels, dtype=wide, seed=8),
    }


def widened(operands: dict[str, Any]) -> dict[str, Any]:
    """The same numbers in float64."""
    return {k: v.double() if isinstance(v, Tensor) else v for k, v in operands.items()}


def relative_error(value: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest expected magnitude."""
    expected = expected.detach().double()
    scale = expected.abs().max().clamp(min=1e-30)
    return ((value.detach().double() - expected).abs().max() / scale).item()
