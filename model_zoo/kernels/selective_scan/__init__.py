"""Selective scan of several directions, with bias, softplus, skip and gate in one operator.

Per direction g and channel, with A negative and x = softplus(delta + delta_bias):

    state_t = exp(x_t A) state_{t-1} + x_t B_t u_t        y_t = <C_t, state_t> + D u_t

and the result is silu(z) times the sum of y over the directions. A reversed direction runs from the
last token to the first; its inputs and outputs stay in the order of the tokens. Source: Mamba,
arXiv:2312.00752; two directions as in Vim, arXiv:2401.09417, and VideoMamba, arXiv:2403.06977.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from model_zoo._errors import UnsupportedInputError
from model_zoo.kernels.selective_scan import cpu
from model_zoo.kernels.selective_scan.reference import accumulator_dtype

CHECKPOINT_STEPS: Final = 64  # one state in so many is kept for the backward pass

_ARGUMENTS: Final = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? delta_bias"
)
_OPTIONS: Final = "*, bool delta_softplus, bool[] reverse, int checkpoint_steps"

# A Library costs a few microseconds a call less than `torch.library.custom_op`
_LIBRARY: Final = torch.library.Library("model_zoo", "FRAGMENT")
_LIBRARY.define(f"selective_scan({_ARGUMENTS}, {_OPTIONS}) -> (Tensor, Tensor)")


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = True,
    reverse: Sequence[bool],
) -> Tensor:
    """Scan every direction, sum, gate: (G, B, L, E) -> (B, L, E) of `u`'s type.

    The state is kept in float32 (float64 for float64 `u`). Any operand may be strided.

    Args:
        u: (G, B, L, E), and delta too.
        A: (G, E, N), negative: the official ``-exp(A_log)``.
        B: (G, B, L, N), and C too.
        D: (G, E), and delta_bias too.
        z: (B, L, E), the gate before its SiLU.
        delta_softplus: False takes delta + delta_bias as the step size itself.
        reverse: Of each direction, whether it runs from the last token to the first.

    Raises:
        UnsupportedInputError: Shapes that do not go together.
    """
    _require_shapes(u, delta, A, B, C, D, z, delta_bias, reverse)
    operands = (u, delta, A, B, C, D, z, delta_bias)
    needs_grad = torch.is_grad_enabled() and any(
        x is not None and x.requires_grad for x in operands
    )
    y, _ = torch.ops.model_zoo.selective_scan(
        *operands,
        delta_softplus=delta_softplus,
        reverse=reverse,
        checkpoint_steps=CHECKPOINT_STEPS if needs_grad else 0,
    )
    return y


def _require_shapes(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    reverse: Sequence[bool],
) -> None:
    num_directions, batch, length, channels = u.shape
    num_states = A.shape[-1]
    wanted = {
        "delta": (delta, (num_directions, batch, length, channels)),
        "A": (A, (num_directions, channels, num_states)),
        "B": (B, (num_directions, batch, length, num_states)),
        "C": (C, (num_directions, batch, length, num_states)),
        "D": (D, (num_directions, channels)),
        "z": (z, (batch, length, channels)),
        "delta_bias": (delta_bias, (num_directions, channels)),
    }
    for name, (operand, shape) in wanted.items():
        if operand is not None and operand.shape != shape:
            raise UnsupportedInputError(
                f"{name} must be {shape} for u {tuple(u.shape)}, not {tuple(operand.shape)}"
            )
    if len(reverse) != num_directions:
        raise UnsupportedInputError(
            f"reverse must hold {num_directions} flags, one a direction: {list(reverse)}"
        )


def implementation(device: torch.device | str) -> str:
    """Which form runs on `device`: ``triton`` or ``chunked``."""
    return "chunked"


_LIBRARY.impl("selective_scan", cpu.forward, "CPU")
_LIBRARY.impl("selective_scan", cpu.forward, "CUDA")


def _fake(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    z: Tensor | None,
    delta_bias: Tensor | None,
    *,
    delta_softplus: bool,
    reverse: Sequence[bool],
    checkpoint_steps: int,
) -> tuple[Tensor, Tensor]:
    num_directions, batch, length, channels = u.shape
    num_checkpoints = -(-length // checkpoint_steps) if checkpoint_steps else 0
    checkpoints = u.new_empty(
        (num_directions, batch, num_checkpoints, A.shape[-1], channels),
        dtype=accumulator_dtype(u.dtype),
    )
    return u.new_empty(batch, length, channels), checkpoints


torch.library.register_fake("model_zoo::selective_scan", _fake, lib=_LIBRARY)
