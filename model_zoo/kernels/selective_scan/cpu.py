"""The selective scan in plain torch, sequential inside chunks that stay in a core's cache.

Per chunk the exponentials and outer products are vectorised; each time step is then one fused
multiply-add in place. Beyond inputs and outputs the memory is that of one chunk. Formulations that
scan in parallel lose on a CPU, since they move the expanded state through memory several times.

What torch takes long for beyond arithmetic is avoided: e^x is exp2 of a scaled rate, which is three
times as fast; the views of single steps are made once; a step works on several rows at a time.

Legend: G directions, R batch rows and T time steps of a chunk, N states, E channels. The expanded
state is (T, R, N, E): channels last, so that every pass is contiguous. Nothing here is specific to
CPUs: it is also what CUDA falls back to without Triton.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from model_zoo.kernels._huge_pages import in_huge_pages
from model_zoo.kernels._threads import one_thread
from model_zoo.kernels.selective_scan.inputs import LOG2_E, ScanInputs

CHUNK_TOKENS: Final = 32  # R x T: with E=384, N=16 in float32 two such arrays fill 1.5 MiB
MAX_ROWS: Final = 4
SOFTPLUS_THRESHOLD: Final = 20.0  # torch's own: above it softplus(x) = x


@one_thread()
def forward(inputs: ScanInputs, *, checkpoint_steps: int) -> tuple[Tensor, Tensor]:
    """Scan; results as of the operator `model_zoo::selective_scan`."""
    _, batch, length, channels = inputs.u.shape
    y = in_huge_pages(inputs.u.new_empty(batch, length, channels))
    checkpoints = inputs.empty_checkpoints(checkpoint_steps)
    num_rows = min(MAX_ROWS, batch)
    num_steps = math.gcd(CHUNK_TOKENS // num_rows, checkpoint_steps)  # of 0 and n it is n
    shape = (2, num_steps, num_rows, inputs.num_states, channels)
    whole = [Expanded.of(array) for array in checkpoints.new_empty(shape)]
    for rows in _blocks(batch, num_rows):
        buffers = [array.cut(num_steps, rows.stop - rows.start) for array in whole]
        for g, is_reversed in enumerate(inputs.reverse):
            direction = Direction.of(inputs, g)
            state = torch.zeros_like(buffers[0].steps[0])
            for start, span in spans(length, num_steps, is_reversed=is_reversed):
                if checkpoint_steps and start % checkpoint_steps == 0:
                    checkpoints[g, rows, start // checkpoint_steps] = state
                chunk = direction.chunk(rows, span, buffers)
                state.copy_(chunk.advance(state))
                _accumulate(y[rows, span].transpose(0, 1), chunk.read_out(), inputs, g, rows, span)
    return y, checkpoints


def _accumulate(
    y: Tensor, of_direction: Tensor, inputs: ScanInputs, g: int, rows: slice, span: slice
) -> None:
    """Add direction `g` to the chunk `y` of the output; the last one applies the gate."""
    if g > 0:
        of_direction += y
    if inputs.z is not None and g == len(inputs.reverse) - 1:
        of_direction *= F.silu(inputs.z[rows, span].transpose(0, 1).to(inputs.dtype))
    y.copy_(of_direction)


@dataclass(frozen=True, slots=True)
class Expanded:
    """An array of (T, R, N, E) and views of its steps, each (R, N, E)."""

    array: Tensor
    steps: tuple[Tensor, ...]

    @classmethod
    def of(cls, array: Tensor) -> Self:
        """Make the views."""
        return cls(array, array.unbind(0))

    def cut(self, num_steps: int, num_rows: int) -> Self:
        """The beginning of its memory as a dense array of fewer steps and rows."""
        if self.array.shape[:2] == (num_steps, num_rows):
            return self
        beginning = self.array.flatten(0, 1)[: num_steps * num_rows]
        return self.of(beginning.unflatten(0, (num_steps, num_rows)))  # (T, R, N, E)


@dataclass(frozen=True, slots=True)
class Chunk:
    """T steps of R rows, and the two arrays that hold their expanded state."""

    direction: "Direction"
    u: Tensor  # (T, R, E)
    biased_delta: Tensor  # (T, R, E), what goes into the softplus
    step: Tensor  # (T, R, E), what comes out
    B: Tensor  # (T, R, N)
    C: Tensor  # (T, R, N)
    decay: Expanded
    state: Expanded  # the increments until `advance` has run

    def in_scan_order(self, expanded: Expanded) -> tuple[Tensor, ...]:
        """The steps of an array, first the one that the scan meets first."""
        return expanded.steps[::-1] if self.direction.is_reversed else expanded.steps

    def advance(self, state: Tensor) -> Tensor:
        """Turn increments into states, starting from `state`; the last one comes back."""
        pairs = zip(self.in_scan_order(self.state), self.in_scan_order(self.decay), strict=True)
        for increment, decay in pairs:
            state = increment.addcmul_(decay, state)
        return state

    def read_out(self) -> Tensor:
        """The output before the gate, (T, R, E)."""
        y = contract_states(self.C, self.state.array)
        return y if self.direction.D is None else y.addcmul_(self.u, self.direction.D)


@dataclass(frozen=True, slots=True)
class Direction:
    """The operands of one direction, those without a time axis in the accumulator's type."""

    u: Tensor  # (B, L, E)
    delta: Tensor  # (B, L, E)
    A: Tensor  # (N, E)
    rates: Tensor  # (N, E), for exp2
    B: Tensor  # (B, L, N)
    C: Tensor  # (B, L, N)
    D: Tensor | None  # (E,)
    delta_bias: Tensor | None  # (E,)
    delta_softplus: bool
    is_reversed: bool

    @classmethod
    def of(cls, inputs: ScanInputs, g: int) -> Self:
        """Direction `g`."""
        dtype = inputs.dtype
        A = inputs.A[g].to(dtype).t().contiguous()
        return cls(
            u=inputs.u[g],
            delta=inputs.delta[g],
            A=A,
            rates=A * LOG2_E,
            B=inputs.B[g],
            C=inputs.C[g],
            D=None if inputs.D is None else inputs.D[g].to(dtype),
            delta_bias=None if inputs.delta_bias is None else inputs.delta_bias[g].to(dtype),
            delta_softplus=inputs.delta_softplus,
            is_reversed=inputs.reverse[g],
        )

    def chunk(self, rows: slice, span: slice, buffers: Sequence[Expanded]) -> Chunk:
        """Decays and increments of `span`, written into the two `buffers`."""
        u, delta, B, C = (
            x[rows, span].transpose(0, 1).to(self.A.dtype)
            for x in (self.u, self.delta, self.B, self.C)
        )
        if self.delta_bias is not None:
            delta = delta + self.delta_bias
        step = F.softplus(delta, threshold=SOFTPLUS_THRESHOLD) if self.delta_softplus else delta
        decay, increment = (array.cut(*u.shape[:2]) for array in buffers)
        torch.mul(step.unsqueeze(2), self.rates, out=decay.array).exp2_()
        torch.mul((step * u).unsqueeze(2), B.unsqueeze(3), out=increment.array)
        return Chunk(self, u, delta, step, B, C, decay, increment)


def contract_states(weights: Tensor, expanded: Tensor) -> Tensor:
    """Sum over the states: (T, R, N), (T, R, N, E) -> (T, R, E)."""
    num_steps, num_rows, num_states, channels = expanded.shape
    product = torch.bmm(
        weights.reshape(-1, 1, num_states),  # (T * R, 1, N)
        expanded.view(-1, num_states, channels),  # (T * R, N, E)
    )
    return product.view(num_steps, num_rows, channels)


def spans(length: int, num_steps: int, *, is_reversed: bool) -> Iterator[tuple[int, slice]]:
    """Steps already done and the tokens that come next, in the order of the scan."""
    for block in _blocks(length, num_steps):
        if is_reversed:
            yield block.start, slice(length - block.stop, length - block.start)
        else:
            yield block.start, block


def _blocks(size: int, block: int) -> Iterator[slice]:
    return (slice(start, min(start + block, size)) for start in range(0, size, block))
