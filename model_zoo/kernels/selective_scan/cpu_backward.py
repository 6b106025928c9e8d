"""Gradients of the selective scan in plain torch, one span between two checkpoints at a time.

A span's states are recomputed from the state on entry that the forward pass kept. The adjoint of
the state, a_t = C_t dy_t + decay_{t+1} a_{t+1}, then runs the other way, and every gradient is a
contraction of states and adjoints over one axis. Legend as in `cpu`: T steps, R rows (one at a
time here), N states, E channels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

import torch
from torch import Tensor

from model_zoo.kernels._threads import one_thread
from model_zoo.kernels.selective_scan.cpu import (
    SOFTPLUS_THRESHOLD,
    Chunk,
    Direction,
    Expanded,
    contract_states,
    spans,
)
from model_zoo.kernels.selective_scan.inputs import ScanInputs


@one_thread()
def backward(
    grad: Tensor, inputs: ScanInputs, checkpoints: Tensor, *, checkpoint_steps: int
) -> tuple[Tensor, ...]:
    """Differentiate; results as of the operator `model_zoo::selective_scan_backward`."""
    _, batch, length, channels = inputs.u.shape
    gradients = Gradients.zeros(inputs)
    num_steps = min(checkpoint_steps, length)
    shape = (3, num_steps, 1, inputs.num_states, channels)
    *buffers, for_adjoint = (Expanded.of(array) for array in checkpoints.new_empty(shape))
    for g, is_reversed in enumerate(inputs.reverse):
        direction = Direction.of(inputs, g)
        for row in range(batch):
            rows = slice(row, row + 1)
            carry = torch.zeros_like(for_adjoint.steps[0])
            in_order = list(spans(length, num_steps, is_reversed=is_reversed))
            for start, span in reversed(in_order):
                chunk = direction.chunk(rows, span, buffers)
                on_entry = checkpoints[g, rows, start // checkpoint_steps]
                chunk.advance(on_entry)
                grad_y = grad[rows, span].transpose(0, 1).to(carry.dtype)
                if inputs.z is not None:
                    grad_y = gradients.ungate(inputs.z, grad_y, chunk.read_out(), rows, span)
                adjoint = for_adjoint.cut(*grad_y.shape[:2])
                carry = _run_adjoint(chunk, grad_y, carry, adjoint)
                gradients.add(chunk, grad_y, adjoint.array, on_entry, (g, rows, span))
    return gradients.as_results(inputs)


def _run_adjoint(chunk: Chunk, grad_y: Tensor, carry: Tensor, adjoint: Expanded) -> Tensor:
    """Fill `adjoint`; what it passes to the span before comes back (R, N, E)."""
    torch.mul(grad_y.unsqueeze(2), chunk.C.unsqueeze(3), out=adjoint.array)
    steps = chunk.in_scan_order(adjoint)[::-1]
    decays = chunk.in_scan_order(chunk.decay)[::-1]
    steps[0].add_(carry)
    for (later, earlier), decay in zip(pairwise(steps), decays, strict=False):
        earlier.addcmul_(decay, later)
    return decays[-1] * steps[-1]


@dataclass(frozen=True, slots=True)
class Gradients:
    """Where the gradients of the operands are summed; what is summed over time is wide."""

    u: Tensor  # (G, B, L, E)
    delta: Tensor  # (G, B, L, E)
    A: Tensor  # (G, N, E)
    B: Tensor  # (G, B, L, N)
    C: Tensor  # (G, B, L, N)
    D: Tensor  # (G, E)
    z: Tensor  # (B, L, E), summed over directions; empty without a gate
    delta_bias: Tensor  # (G, E)

    @classmethod
    def zeros(cls, inputs: ScanInputs) -> Self:
        """Ready to be added to."""
        num_directions, _, _, channels = inputs.u.shape
        per_channel = (num_directions, channels)
        return cls(
            u=inputs.u.new_empty(inputs.u.shape),
            delta=inputs.delta.new_empty(inputs.delta.shape),
            A=_wide_zeros(inputs, (num_directions, inputs.num_states, channels)),
            B=inputs.B.new_empty(inputs.B.shape),
            C=inputs.C.new_empty(inputs.C.shape),
            D=_wide_zeros(inputs, per_channel),
            z=_wide_zeros(inputs, () if inputs.z is None else inputs.z.shape),
            delta_bias=_wide_zeros(inputs, per_channel),
        )

    def ungate(self, z: Tensor, grad: Tensor, y: Tensor, rows: slice, span: slice) -> Tensor:
        """Add the gate's gradient; that of what it multiplies comes back, (T, R, E)."""
        gate = z[rows, span].transpose(0, 1).to(grad.dtype)
        sigmoid = gate.sigmoid()
        slope = sigmoid * (1 + gate * (1 - sigmoid))
        self.z[rows, span] += (grad * y * slope).transpose(0, 1)
        return grad * gate * sigmoid

    def add(
        self,
        chunk: Chunk,
        grad_y: Tensor,
        adjoint: Tensor,
        on_entry: Tensor,
        place: tuple[int, slice, slice],
    ) -> None:
        """Add what a chunk gives; its own arrays and `adjoint` are used up."""
        g, direction = place[0], chunk.direction
        adjoint_B = contract_states(chunk.B, adjoint)  # (T, R, E)
        grad_u = chunk.step * adjoint_B
        if direction.D is not None:
            grad_u += direction.D * grad_y
            self.D[g] += (chunk.u * grad_y).sum((0, 1))
        self.u[place] = grad_u.transpose(0, 1)
        self.B[place] = _contract_channels(adjoint, chunk.step * chunk.u).transpose(0, 1)
        self.C[place] = _contract_channels(chunk.state.array, grad_y).transpose(0, 1)

        exponent = _gradient_of_exponent(chunk, adjoint, on_entry)  # (T, R, N, E)
        self.A[g] += torch.mul(exponent, chunk.step.unsqueeze(2), out=adjoint).sum((0, 1))
        grad_step = exponent.mul_(direction.A).sum(2) + chunk.u * adjoint_B
        if direction.delta_softplus:
            grad_step = torch.ops.aten.softplus_backward(
                grad_step, chunk.biased_delta, 1, SOFTPLUS_THRESHOLD
            )
        self.delta[place] = grad_step.transpose(0, 1)
        self.delta_bias[g] += grad_step.sum((0, 1))

    def as_results(self, inputs: ScanInputs) -> tuple[Tensor, ...]:
        """One a differentiable operand, in its type and the schema's order; empty if it is None."""
        A = self.A.transpose(1, 2).to(inputs.A.dtype).contiguous()
        optional = (
            self.u.new_empty(0) if operand is None else gradient.to(operand.dtype)
            for operand, gradient in (
                (inputs.D, self.D),
                (inputs.z, self.z),
                (inputs.delta_bias, self.delta_bias),
            )
        )
        return (self.u, self.delta, A, self.B, self.C, *optional)


def _wide_zeros(inputs: ScanInputs, shape: Sequence[int]) -> Tensor:
    return inputs.u.new_zeros(shape, dtype=inputs.dtype)


def _gradient_of_exponent(chunk: Chunk, adjoint: Tensor, on_entry: Tensor) -> Tensor:
    """decay_t adjoint_t state_{t-1}, in the place of the decays: (T, R, N, E)."""
    product, state = chunk.decay.array.mul_(adjoint), chunk.state.array
    if chunk.direction.is_reversed:
        product[:-1] *= state[1:]
        product[-1] *= on_entry
    else:
        product[1:] *= state[:-1]
        product[0] *= on_entry
    return product


def _contract_channels(expanded: Tensor, weights: Tensor) -> Tensor:
    """Sum over the channels: (T, R, N, E), (T, R, E) -> (T, R, N)."""
    num_steps, num_rows, num_states, channels = expanded.shape
    product = torch.bmm(
        expanded.view(-1, num_states, channels),  # (T * R, N, E)
        weights.reshape(-1, channels, 1),  # (T * R, E, 1)
    )
    return product.view(num_steps, num_rows, num_states)
