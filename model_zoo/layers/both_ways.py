"""The middle of a bidirectional Mamba mixer: convolution, projections and scan of both directions.

In training only the input and the scan's checkpoints are kept. The convolution, the projections and
the states are made again in the backward pass, as in state-spaces/mamba's ``mamba_inner_fn``: what
they hold would be twice as large as all that the block keeps.

Shapes: G = 2 directions (the second runs from the last token to the first), B batch, L tokens,
E channels, R rank of the step size, N states.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, Self

import torch
from torch import Tensor

from model_zoo.kernels.causal_conv1d import causal_conv1d
from model_zoo.kernels.pack_directions import (
    Direction,
    Packed,
    pack_directions,
    unpack_gradients,
)
from model_zoo.kernels.selective_scan import CHECKPOINT_STEPS

REVERSE: Final = (False, True)
# Of a row of projections, so that the scan's loads of B and C are of 16 bytes
ROW_ALIGNMENT: Final = 16
_SCAN_OPTIONS: Final = {"delta_softplus": True, "reverse": REVERSE}


def scan_both_ways(xz: Tensor, forward: Direction, backward: Direction) -> Tensor:
    """Convolve and scan from both ends, add, gate: (B, L, 2 E) -> (B, L, E).

    Differentiable once.

    Args:
        xz: What is scanned, and the gate before its SiLU.
    """
    parameters = (*forward, *backward)
    if torch.is_grad_enabled() and any(x.requires_grad for x in (xz, *parameters)):
        y: Tensor = _Recomputed.apply(xz, *parameters)  # type: ignore[no-untyped-call]
        return y
    operands = _Operands.of(xz, pack_directions(forward, backward, xz.dtype))
    return operands.scan(checkpoint_steps=0)[0]


class _Operands(NamedTuple):
    """What the scan takes, in the order of `model_zoo::selective_scan`, and a step before it."""

    u: Tensor  # (G, B, L, E)
    delta: Tensor  # (G, B, L, E)
    A: Tensor  # (G, E, N)
    B: Tensor  # (G, B, L, N)
    C: Tensor  # (G, B, L, N)
    D: Tensor  # (G, E)
    z: Tensor  # (B, L, E)
    delta_bias: Tensor  # (G, E)
    rank_dt: Tensor  # (G, B * L, R), what delta is projected from

    @classmethod
    def of(cls, xz: Tensor, packed: Packed) -> Self:
        """Convolve and project."""
        x, z = xz.chunk(2, dim=-1)  # each (B, L, E)
        u = causal_conv1d(x, packed.conv_weight, packed.conv_bias, reverse=REVERSE)
        num_states, num_rank = packed.rates.shape[1], packed.dt_weight.shape[2]
        rows = _projected(u.flatten(1, 2), packed.x_weight)  # (G, B * L, 2 N + R)
        sizes = (num_states, num_states, num_rank)
        B_t, C_t, rank_dt = rows.split(sizes, dim=-1)
        delta = rank_dt @ packed.dt_weight.transpose(1, 2)  # (G, B * L, E)
        per_token = xz.shape[:2]
        return cls(
            u=u,
            delta=delta.unflatten(1, per_token),
            A=packed.rates.transpose(1, 2),
            B=B_t.unflatten(1, per_token),
            C=C_t.unflatten(1, per_token),
            D=packed.D,
            z=z,
            delta_bias=packed.dt_bias,
            rank_dt=rank_dt,
        )

    @property
    def of_scan(self) -> tuple[Tensor, ...]:
        """The scan's own."""
        return self[:-1]

    def scan(self, *, checkpoint_steps: int) -> tuple[Tensor, Tensor]:
        """The gated sum (B, L, E), and states for the backward pass."""
        y, checkpoints = torch.ops.model_zoo.selective_scan(
            *self.of_scan, **_SCAN_OPTIONS, checkpoint_steps=checkpoint_steps
        )
        return y, checkpoints


def _projected(u: Tensor, weight: Tensor) -> Tensor:
    """Rows (G, B * L, 2 N + R), with room after each so that all are aligned."""
    # neither the compiler nor a tracer follows a product into the rows of something wider
    if torch.compiler.is_compiling() or torch._C._is_tracing():
        return u @ weight.transpose(1, 2)
    num_columns = weight.shape[1]
    width = -(-num_columns // ROW_ALIGNMENT) * ROW_ALIGNMENT
    rows = u.new_empty((*u.shape[:2], width))[..., :num_columns]
    return torch.bmm(u, weight.transpose(1, 2), out=rows)


class _Recomputed(torch.autograd.Function):
    """`scan_both_ways` in training."""

    @staticmethod
    def forward(ctx: Any, xz: Tensor, *parameters: Tensor) -> Tensor:
        """Scan, keeping the input and the checkpoints."""
        packed = pack_directions(*_directions(parameters), xz.dtype)
        operands = _Operands.of(xz, packed)
        y, checkpoints = operands.scan(checkpoint_steps=CHECKPOINT_STEPS)
        ctx.save_for_backward(xz, checkpoints, *parameters)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        """Gradients of the input and of every parameter."""
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            raise NotImplementedError("a scan both ways can be differentiated once only")
        xz, checkpoints, *parameters = ctx.saved_tensors
        forward, backward = _directions(parameters)
        packed = pack_directions(forward, backward, xz.dtype)
        operands = _Operands.of(xz, packed)
        of_u, of_delta, of_A, of_B, of_C, of_D, of_z, of_dt_bias = (
            torch.ops.model_zoo.selective_scan_backward(
                grad,
                *operands.of_scan,
                checkpoints,
                **_SCAN_OPTIONS,
                checkpoint_steps=CHECKPOINT_STEPS,
            )
        )
        u, rank_dt = operands.u, operands.rank_dt
        del operands  # the step sizes are the largest of what is not needed any more
        of_x_weight, of_dt_weight = _through_projections(
            u, rank_dt, packed, *(x.flatten(1, 2) for x in (of_u, of_delta, of_B, of_C))
        )
        del u, of_delta
        of_x, of_conv_weight, of_conv_bias = torch.ops.model_zoo.causal_conv1d_backward(
            of_u,
            xz.chunk(2, dim=-1)[0],
            packed.conv_weight,
            packed.conv_bias,
            reverse=REVERSE,
            silu=True,
        )
        gradients = Packed(
            conv_weight=of_conv_weight,
            conv_bias=of_conv_bias,
            x_weight=of_x_weight,
            dt_weight=of_dt_weight,
            dt_bias=of_dt_bias,
            rates=of_A.transpose(1, 2),
            D=of_D,
        )
        of_forward, of_backward = unpack_gradients(gradients, packed.rates, forward)
        return torch.cat((of_x, of_z), dim=-1), *of_forward, *of_backward


def _directions(parameters: Sequence[Tensor]) -> tuple[Direction, Direction]:
    num = len(Direction._fields)
    return Direction(*parameters[:num]), Direction(*parameters[num:])


def _through_projections(
    u: Tensor,
    rank_dt: Tensor,
    packed: Packed,
    of_u: Tensor,
    of_delta: Tensor,
    of_B: Tensor,
    of_C: Tensor,
) -> tuple[Tensor, Tensor]:
    """Gradients of the projections' weights; adds to that of u what comes back through them.

    Args:
        of_u: (G, B * L, E), from the scan alone; the other gradients are as long.
    """
    of_rank = of_delta @ packed.dt_weight
    of_dt_weight = of_delta.transpose(1, 2) @ rank_dt
    of_rows = torch.cat((of_B, of_C, of_rank), dim=-1)  # (G, B * L, 2 N + R)
    torch.baddbmm(of_u, of_rows, packed.x_weight, out=of_u)
    return of_rows.transpose(1, 2) @ u.flatten(1, 2), of_dt_weight
