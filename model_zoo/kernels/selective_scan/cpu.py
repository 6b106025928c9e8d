"""The selective scan in plain torch, sequential inside chunks that stay in a core's cache.

Per chunk the exponentials and outer products are vectorised; each time step is then one fused
multiply-add in place. Beyond inputs and outputs the memory is that of one chunk. Formulations that
scan in parallel lose on a CPU, since they move the expanded state through memory several times.

Legend: G directions, R batch rows and T time steps of a chunk, N states, E channels. The expanded
state is (T, R, N, E): channels last, so that every pass is contiguous. Nothing here is specific to
CPUs: it is also what CUDA falls back to without Triton.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from model_zoo.kernels.selective_scan.reference import accumulator_dtype

CHUNK_TOKENS: Final = 32  # R x T: with E=384, N=16 in float32 two such arrays fill 1.5 MiB of L2
MAX_ROWS: Final = 2
SOFTPLUS_THRESHOLD: Final = 20.0  # torch's own: above it softplus(x) = x


def forward(
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
    """Scan; arguments and results are those of the operator `model_zoo::selective_scan`."""
    num_directions, batch, length, channels = u.shape
    dtype = accumulator_dtype(u.dtype)
    num_states = A.shape[-1]
    num_checkpoints = -(-length // checkpoint_steps) if checkpoint_steps else 0
    y = u.new_empty(batch, length, channels)
    checkpoints = u.new_empty(
        (num_directions, batch, num_checkpoints, num_states, channels), dtype=dtype
    )
    num_rows = min(MAX_ROWS, batch)
    num_steps = CHUNK_TOKENS // num_rows
    buffers = u.new_empty((2, num_steps, num_rows, num_states, channels), dtype=dtype)
    for g, is_reversed in enumerate(reverse):
        direction = _direction(g, u, delta, A, B, C, D, delta_bias, delta_softplus=delta_softplus)
        for rows in _blocks(batch, num_rows):
            state = u.new_zeros((rows.stop - rows.start, num_states, channels), dtype=dtype)
            for start, span in _spans(length, num_steps, is_reversed=is_reversed):
                if checkpoint_steps and start % checkpoint_steps == 0:
                    checkpoints[g, rows, start // checkpoint_steps] = state
                chunk = direction.chunk(rows, span, buffers)
                state.copy_(chunk.advance(state, is_reversed=is_reversed))
                y_chunk = chunk.read_out(direction.D)
                if g > 0:
                    y_chunk += y[rows, span].transpose(0, 1)
                if z is not None and g == num_directions - 1:
                    y_chunk *= F.silu(z[rows, span].transpose(0, 1).to(dtype))
                y[rows, span] = y_chunk.transpose(0, 1)
    return y, checkpoints


@dataclass(frozen=True, slots=True)
class _Chunk:
    """T steps of R rows, and the two arrays that hold their expanded state."""

    u: Tensor  # (T, R, E)
    step: Tensor  # (T, R, E), what delta is after bias and softplus
    B: Tensor  # (T, R, N)
    C: Tensor  # (T, R, N)
    decay: Tensor  # (T, R, N, E)
    state: Tensor  # (T, R, N, E), the increments until `advance` has run

    def advance(self, state: Tensor, *, is_reversed: bool) -> Tensor:
        """Turn increments into states, starting from `state`; the last one comes back."""
        states, decays = self.state.unbind(0), self.decay.unbind(0)
        if is_reversed:
            states, decays = states[::-1], decays[::-1]
        for increment, decay in zip(states, decays, strict=True):
            state = increment.addcmul_(decay, state)
        return state

    def read_out(self, D: Tensor | None) -> Tensor:
        """The output before the gate, (T, R, E)."""
        y = _contract_states(self.C, self.state)
        return y if D is None else y.addcmul_(self.u, D)


@dataclass(frozen=True, slots=True)
class _Direction:
    """The operands of one direction, those without a time axis in the accumulator's type."""

    u: Tensor  # (B, L, E)
    delta: Tensor  # (B, L, E)
    A: Tensor  # (N, E)
    B: Tensor  # (B, L, N)
    C: Tensor  # (B, L, N)
    D: Tensor | None  # (E,)
    delta_bias: Tensor | None  # (E,)
    delta_softplus: bool

    def chunk(self, rows: slice, span: slice, buffers: Tensor) -> _Chunk:
        """Decays and increments of `span`, written into `buffers` (2, T, R, N, E)."""
        u, B, C = (x[rows, span].transpose(0, 1).to(self.A.dtype) for x in (self.u, self.B, self.C))
        step = self.biased_delta(rows, span)
        if self.delta_softplus:
            step = F.softplus(step, threshold=SOFTPLUS_THRESHOLD)
        decay, increment = buffers[:, : u.shape[0], : u.shape[1]]
        torch.mul(step.unsqueeze(2), self.A, out=decay).exp_()
        torch.mul((step * u).unsqueeze(2), B.unsqueeze(3), out=increment)
        return _Chunk(u, step, B, C, decay, increment)

    def biased_delta(self, rows: slice, span: slice) -> Tensor:
        """What goes into the softplus, (T, R, E)."""
        delta = self.delta[rows, span].transpose(0, 1).to(self.A.dtype)
        return delta if self.delta_bias is None else delta + self.delta_bias


def _direction(
    g: int,
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None,
    delta_bias: Tensor | None,
    *,
    delta_softplus: bool,
) -> _Direction:
    dtype = accumulator_dtype(u.dtype)
    return _Direction(
        u=u[g],
        delta=delta[g],
        A=A[g].to(dtype).t().contiguous(),
        B=B[g],
        C=C[g],
        D=None if D is None else D[g].to(dtype),
        delta_bias=None if delta_bias is None else delta_bias[g].to(dtype),
        delta_softplus=delta_softplus,
    )


def _contract_states(weights: Tensor, expanded: Tensor) -> Tensor:
    """Sum over the states: (T, R, N), (T, R, N, E) -> (T, R, E)."""
    num_steps, num_rows, num_states, channels = expanded.shape
    product = torch.bmm(
        weights.reshape(-1, 1, num_states),  # (T*R, 1, N)
        expanded.reshape(-1, num_states, channels),  # (T*R, N, E)
    )
    return product.view(num_steps, num_rows, channels)


def _blocks(size: int, block: int) -> Iterator[slice]:
    return (slice(start, min(start + block, size)) for start in range(0, size, block))


def _spans(length: int, num_steps: int, *, is_reversed: bool) -> Iterator[tuple[int, slice]]:
    """Steps already done and the tokens that come next, in the order of the scan."""
    for block in _blocks(length, num_steps):
        if is_reversed:
            yield block.start, slice(length - block.stop, length - block.start)
        else:
            yield block.start, block
