"""Gradients of the selective scan in plain torch, one span between two checkpoints at a time.

A span's states are recomputed from the state on entry that the forward pass kept. The adjoint of
the state, a_t = C_t dy_t + decay_{t+1} a_{t+1}, then runs the other way, and every gradient is a
contraction of states and adjoints over one axis. Legend as in `cpu`: T steps, R rows (one at a
time here), N states, E channels.
"""

import functools
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from model_zoo.kernels import _recurrence
from model_zoo.kernels._threads import added_in_order, run_tasks
from model_zoo.kernels.selective_scan.cpu import (
    SOFTPLUS_THRESHOLD,
    Block,
    Chunk,
    Direction,
    Expanded,
    blocks,
    contract_states,
    spans,
)
from model_zoo.kernels.selective_scan.inputs import ScanInputs


def backward(
    grad: Tensor, inputs: ScanInputs, checkpoints: Tensor, *, checkpoint_steps: int
) -> tuple[Tensor, ...]:
    """Differentiate; results as of the operator `model_zoo::selective_scan_backward`."""
    of_rows = blocks(inputs, max_rows=1)
    gradients = Gradients.empty(inputs, num_blocks=1 + max(block.index for block in of_rows))
    tasks = (
        functools.partial(
            _differentiate, grad, inputs, block, checkpoints, checkpoint_steps, gradients
        )
        for block in of_rows
    )
    run_tasks(tasks, device=grad.device)
    return gradients.as_results(inputs)


def _differentiate(
    grad: Tensor,
    inputs: ScanInputs,
    block: Block,
    checkpoints: Tensor,
    checkpoint_steps: int,
    gradients: "Gradients",
) -> None:
    """Fill what a block has of the gradients."""
    length = inputs.u.shape[2]
    num_steps = min(checkpoint_steps, length)
    shape = (3, num_steps, 1, inputs.num_states, block.num_channels)
    *buffers, for_adjoint = (Expanded.of(array) for array in checkpoints.new_empty(shape))
    grad = block.of(grad)
    for g, is_reversed in enumerate(inputs.reverse):
        direction, parts = Direction.of(inputs, g, block), gradients.of(g, block)
        kept = checkpoints[g, block.rows, ..., block.channels]
        carry = torch.zeros_like(for_adjoint.steps[0])
        in_order = list(spans(length, num_steps, is_reversed=is_reversed))
        for start, span in reversed(in_order):
            chunk = direction.chunk(span, buffers)
            on_entry = kept[:, start // checkpoint_steps]
            chunk.advance(on_entry)
            grad_y = grad[span].to(carry.dtype)
            if inputs.z is not None:
                gate = block.of(inputs.z)[span].to(carry.dtype)
                grad_y = parts.ungate(gate, grad_y, chunk.read_out(), span, is_first=g == 0)
            adjoint = for_adjoint.cut(*grad_y.shape[:2])
            carry = _run_adjoint(chunk, grad_y, carry, adjoint)
            parts.add(chunk, grad_y, adjoint.array, on_entry, span)


def _run_adjoint(chunk: Chunk, grad_y: Tensor, carry: Tensor, adjoint: Expanded) -> Tensor:
    """Fill `adjoint`; what it passes to the span before comes back (R, N, E)."""
    torch.mul(grad_y.unsqueeze(2), chunk.C.unsqueeze(3), out=adjoint.array)
    steps = chunk.in_scan_order(adjoint)[::-1]
    decays = chunk.in_scan_order(chunk.decay)[::-1]
    steps[0].add_(carry)
    if len(steps) > 1:
        _recurrence.run(steps[1:], decays[:-1], steps[0])
    return decays[-1] * steps[-1]


@dataclass(frozen=True, slots=True)
class Part:
    """Where a block writes what it has of the gradients of one direction; views of `Gradients`."""

    u: Tensor  # (L, R, E), and so on
    delta: Tensor
    A: Tensor  # (N, E), and B and C below, are its own
    B: Tensor  # (L, R, N)
    C: Tensor
    D: Tensor  # (E,)
    z: Tensor | None  # (L, R, E)
    delta_bias: Tensor  # (E,)

    def ungate(
        self, gate: Tensor, grad: Tensor, y: Tensor, span: slice, *, is_first: bool
    ) -> Tensor:
        """Add the gate's gradient; that of what it multiplies comes back, (T, R, E)."""
        assert self.z is not None
        sigmoid = gate.sigmoid()
        slope = sigmoid * (1 + gate * (1 - sigmoid))
        of_gate = grad * y * slope
        if not is_first:
            of_gate += self.z[span]
        self.z[span] = of_gate
        return grad * gate * sigmoid

    def add(
        self, chunk: Chunk, grad_y: Tensor, adjoint: Tensor, on_entry: Tensor, span: slice
    ) -> None:
        """Add what a chunk gives; its own arrays and `adjoint` are used up."""
        direction = chunk.direction
        adjoint_B = contract_states(chunk.B, adjoint)  # (T, R, E)
        grad_u = chunk.step * adjoint_B
        if direction.D is not None:
            grad_u += direction.D * grad_y
            self.D.add_((chunk.u * grad_y).sum((0, 1)))
        self.u[span] = grad_u
        self.B[span] = _contract_channels(adjoint, chunk.step * chunk.u)
        self.C[span] = _contract_channels(chunk.state.array, grad_y)

        exponent = _gradient_of_exponent(chunk, adjoint, on_entry)  # (T, R, N, E)
        self.A.add_(torch.mul(exponent, chunk.step.unsqueeze(2), out=adjoint).sum((0, 1)))
        grad_step = exponent.mul_(direction.A).sum(2) + chunk.u * adjoint_B
        if direction.delta_softplus:
            grad_step = torch.ops.aten.softplus_backward(
                grad_step, chunk.biased_delta, 1, SOFTPLUS_THRESHOLD
            )
        self.delta[span] = grad_step
        self.delta_bias.add_(grad_step.sum((0, 1)))


@dataclass(frozen=True, slots=True)
class Gradients:
    """The gradients of the operands, as blocks write them.

    What several blocks have a part of is kept apart, wide, and added up in the end in their order.
    """

    u: Tensor  # (G, B, L, E)
    delta: Tensor  # (G, B, L, E)
    A: Tensor  # (B, G, N, E), of each row
    B: Tensor  # (blocks, G, B, L, N), of each block of channels
    C: Tensor  # (blocks, G, B, L, N)
    D: Tensor  # (B, G, E)
    z: Tensor | None  # (B, L, E), summed over directions
    delta_bias: Tensor  # (B, G, E)

    @classmethod
    def empty(cls, inputs: ScanInputs, *, num_blocks: int) -> Self:
        """Ready to be written; sums over tokens begin with 0."""
        num_directions, batch, _, channels = inputs.u.shape
        wide = inputs.u.new_empty(0, dtype=inputs.dtype)
        per_state = wide.new_empty(2, num_blocks, *inputs.B.shape)
        return cls(
            u=inputs.u.new_empty(inputs.u.shape),
            delta=inputs.delta.new_empty(inputs.delta.shape),
            A=wide.new_zeros(batch, num_directions, inputs.num_states, channels),
            B=per_state[0],
            C=per_state[1],
            D=wide.new_zeros(batch, num_directions, channels),
            z=None if inputs.z is None else wide.new_empty(inputs.z.shape),
            delta_bias=wide.new_zeros(batch, num_directions, channels),
        )

    def of(self, g: int, block: Block) -> Part:
        """What a block of one row fills in direction `g`."""
        row, channels = block.rows.start, block.channels
        return Part(
            u=block.of(self.u[g]),
            delta=block.of(self.delta[g]),
            A=self.A[row, g, :, channels],
            B=block.of_rows(self.B[block.index, g]),
            C=block.of_rows(self.C[block.index, g]),
            D=self.D[row, g, channels],
            z=None if self.z is None else block.of(self.z),
            delta_bias=self.delta_bias[row, g, channels],
        )

    def as_results(self, inputs: ScanInputs) -> tuple[Tensor, ...]:
        """One a differentiable operand, in its type and the schema's order; empty if it is None."""
        A = added_in_order(self.A).transpose(1, 2).contiguous()
        B, C, D, bias = map(added_in_order, (self.B, self.C, self.D, self.delta_bias))
        of_operands = (
            (inputs.u, self.u),
            (inputs.delta, self.delta),
            (inputs.A, A),
            (inputs.B, B),
            (inputs.C, C),
            (inputs.D, D),
            (inputs.z, self.z),
            (inputs.delta_bias, bias),
        )
        return tuple(
            self.u.new_empty(0) if operand is None or gradient is None else gradient.to(operand)
            for operand, gradient in of_operands
        )


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
