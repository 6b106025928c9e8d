"""The selective scan in plain torch, sequential inside chunks that stay in cache.

Per chunk the exponentials and outer products are vectorised; each time step is then one fused
multiply-add in place. Beyond inputs and outputs the memory is that of one chunk for each thread:
rows and blocks of channels are scanned side by side. Formulations that scan in parallel along the
tokens lose on a CPU, since they move the expanded state through memory several times.

What torch takes long for beyond arithmetic is avoided: e^x is exp2 of a scaled rate, which is three
times as fast; the views of single steps are made once; a step works on several rows at a time.

Legend: G directions, R batch rows and T time steps of a chunk, N states, E channels. The expanded
state is (T, R, N, E): channels last, so that every pass is contiguous. Nothing here is specific to
CPUs: it is also what CUDA falls back to without Triton.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from model_zoo.kernels import _recurrence
from model_zoo.kernels._huge_pages import in_huge_pages
from model_zoo.kernels._threads import run_tasks
from model_zoo.kernels.selective_scan.inputs import LOG2_E, ScanInputs

MAX_STEPS: Final = 256
MAX_ROWS: Final = 4
BLOCK_CHANNELS: Final = 192  # a divisor of VideoMamba's 384, 768 and 1152
STEP_ELEMENTS: Final = 3072  # of a step: with fewer, a call costs more than its arithmetic
# In float32 two such arrays fill 3 MiB. Half of that would be nearer, but with shorter calls
# threads wait more often for each other's hold of Python's lock.
CHUNK_ELEMENTS: Final = 128 * STEP_ELEMENTS
SOFTPLUS_THRESHOLD: Final = 20.0  # torch's own: above it softplus(x) = x


def forward(inputs: ScanInputs, *, checkpoint_steps: int) -> tuple[Tensor, Tensor]:
    """Scan; results as of the operator `model_zoo::selective_scan`."""
    _, batch, length, channels = inputs.u.shape
    y = in_huge_pages(inputs.u.new_empty(batch, length, channels))
    checkpoints = inputs.empty_checkpoints(checkpoint_steps)
    tasks = (
        functools.partial(_scan, inputs, block, y, checkpoints, checkpoint_steps)
        for block in blocks(inputs, max_rows=MAX_ROWS)
    )
    run_tasks(tasks, device=inputs.u.device)
    return y, checkpoints


@dataclass(frozen=True, slots=True)
class Block:
    """What one task computes, whatever the number of threads: results then have the same bits."""

    rows: slice
    channels: slice
    index: int  # among the blocks of the same rows

    def of(self, x: Tensor) -> Tensor:
        """Its part of an array over tokens and channels: (..., B, L, E) -> (..., L, R, E)."""
        return self.of_rows(x)[..., self.channels]

    def of_rows(self, x: Tensor) -> Tensor:
        """Likewise, with whatever the last axis is."""
        return x[..., self.rows, :, :].transpose(-3, -2)

    @property
    def num_rows(self) -> int:
        """R."""
        return int(self.rows.stop - self.rows.start)

    @property
    def num_channels(self) -> int:
        """E."""
        return int(self.channels.stop - self.channels.start)


def blocks(inputs: ScanInputs, *, max_rows: int) -> list[Block]:
    """All rows and channels; a GPU has all channels at once."""
    _, batch, _, channels = inputs.u.shape
    wanted = max(BLOCK_CHANNELS, STEP_ELEMENTS // inputs.num_states)
    num_blocks = max(1, round(channels / wanted)) if inputs.u.device.type == "cpu" else 1
    return [
        Block(rows, of_channels, index)
        for rows in _spans(batch, max_rows)
        for index, of_channels in enumerate(_spans(channels, -(-channels // num_blocks)))
    ]


def _scan(
    inputs: ScanInputs, block: Block, y: Tensor, checkpoints: Tensor, checkpoint_steps: int
) -> None:
    """Fill a block of the outputs."""
    num_steps = _chunk_steps(block.num_rows * inputs.num_states * block.num_channels)
    num_steps = math.gcd(num_steps, checkpoint_steps)  # of 0 and n it is n
    out, gate = block.of(y), None if inputs.z is None else block.of(inputs.z)
    shape = (2, min(num_steps, len(out)), block.num_rows, inputs.num_states, block.num_channels)
    buffers = [Expanded.of(array) for array in checkpoints.new_empty(shape)]
    last = len(inputs.reverse) - 1
    for g, is_reversed in enumerate(inputs.reverse):
        direction = Direction.of(inputs, g, block)
        kept = checkpoints[g, block.rows, ..., block.channels]
        state = torch.zeros_like(buffers[0].steps[0])
        for start, span in spans(len(out), num_steps, is_reversed=is_reversed):
            if checkpoint_steps and start % checkpoint_steps == 0:
                kept[:, start // checkpoint_steps] = state
            chunk = direction.chunk(span, buffers)
            state.copy_(chunk.advance(state))
            of_direction = chunk.read_out()
            if g > 0:
                of_direction += out[span]
            if gate is not None and g == last:
                of_direction *= F.silu(gate[span].to(inputs.dtype))
            out[span] = of_direction


def _chunk_steps(step_elements: int) -> int:
    """A power of two, so that checkpoints fall on chunks' beginnings."""
    return min(MAX_STEPS, 1 << max(1, CHUNK_ELEMENTS // step_elements).bit_length() - 1)


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
        increments, decays = map(self.in_scan_order, (self.state, self.decay))
        return _recurrence.run(increments, decays, state)

    def read_out(self) -> Tensor:
        """The output before the gate, (T, R, E)."""
        y = contract_states(self.C, self.state.array)
        return y if self.direction.D is None else y.addcmul_(self.u, self.direction.D)


@dataclass(frozen=True, slots=True)
class Direction:
    """The operands of one direction that a block needs, those without a time axis widened."""

    u: Tensor  # (L, R, E)
    delta: Tensor  # (L, R, E)
    A: Tensor  # (N, E)
    rates: Tensor  # (N, E), for exp2
    B: Tensor  # (L, R, N)
    C: Tensor  # (L, R, N)
    D: Tensor | None  # (E,)
    delta_bias: Tensor | None  # (E,)
    delta_softplus: bool
    is_reversed: bool

    @classmethod
    def of(cls, inputs: ScanInputs, g: int, block: Block) -> Self:
        """Those of direction `g`."""
        dtype, channels, D, bias = inputs.dtype, block.channels, inputs.D, inputs.delta_bias
        A = inputs.A[g, channels].to(dtype).t().contiguous()
        return cls(
            u=block.of(inputs.u[g]),
            delta=block.of(inputs.delta[g]),
            A=A,
            rates=A * LOG2_E,
            B=block.of_rows(inputs.B[g]),
            C=block.of_rows(inputs.C[g]),
            D=None if D is None else D[g, channels].to(dtype),
            delta_bias=None if bias is None else bias[g, channels].to(dtype),
            delta_softplus=inputs.delta_softplus,
            is_reversed=inputs.reverse[g],
        )

    def chunk(self, span: slice, buffers: Sequence[Expanded]) -> Chunk:
        """Decays and increments of `span`, written into the two `buffers`."""
        u, delta, B, C = (x[span].to(self.A.dtype) for x in (self.u, self.delta, self.B, self.C))
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
    for span in _spans(length, num_steps):
        if is_reversed:
            yield span.start, slice(length - span.stop, length - span.start)
        else:
            yield span.start, span


def _spans(size: int, most: int) -> Iterator[slice]:
    return (slice(start, min(start + most, size)) for start in range(0, size, most))
