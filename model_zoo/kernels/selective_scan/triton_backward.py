"""Gradients of the selective scan for CUDA in Triton, in the arrangement of `triton`.

A program walks the spans between checkpoints from the last to the first. In each it recomputes the
states into a scratch of its own, which stays in L2, and then runs the adjoint back over them.
Gradients of B and C are summed over the channels of a program, those of A, D and the bias over its
tokens; the sums over programs are torch's, so that the result is deterministic.

Legend: G directions, B batch, L tokens, E channels, N states.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from model_zoo.kernels.selective_scan.inputs import ScanInputs
from model_zoo.kernels.selective_scan.triton import LOG2_E, power, softplus
from model_zoo.kernels.selective_scan.triton_launch import BLOCK_CHANNELS, OFFSET, Operands


def backward(
    grad: Tensor, inputs: ScanInputs, checkpoints: Tensor, *, checkpoint_steps: int
) -> tuple[Tensor, ...]:
    """Differentiate; results as of the operator `model_zoo::selective_scan_backward`."""
    num_directions, batch, length, channels = inputs.u.shape
    num_states = inputs.num_states
    operands = Operands(inputs)
    num_blocks = operands.num_blocks
    num_warps = num_warps_for(operands.num_warps)

    def wide(*shape: int) -> Tensor:
        return inputs.u.new_empty(shape, dtype=inputs.dtype)

    scratch = wide(
        num_directions * batch * num_blocks,
        min(checkpoint_steps, length),
        operands.constants["BLOCK_N"],
        BLOCK_CHANNELS,
    )
    grad_u = inputs.u.new_empty(inputs.u.shape)
    grad_delta = inputs.delta.new_empty(inputs.delta.shape)
    grad_A = wide(batch, num_directions, num_states, channels)
    grad_B = wide(num_blocks, num_directions, batch, length, num_states)
    grad_C = torch.empty_like(grad_B)
    grad_D = wide(batch, num_directions, channels)
    grad_bias = torch.empty_like(grad_D)
    grad_z = wide(*(inputs.u.shape if inputs.z is not None else (0,)))
    backward_kernel[operands.grid(1)](
        *operands.pointers(z=inputs.z),
        grad.contiguous(),
        checkpoints,
        scratch,
        *(grad_u, grad_delta, grad_A, grad_B, grad_C, grad_D, grad_z, grad_bias),
        *operands.strides,
        batch,
        length,
        channels,
        OFFSET,
        **operands.constants,
        CHECKPOINT_STEPS=checkpoint_steps,
        **operands.launch_options | {"num_warps": num_warps},
    )
    optional = ((grad_D, inputs.D), (grad_z, inputs.z), (grad_bias, inputs.delta_bias))
    return (
        grad_u,
        grad_delta,
        _sum(grad_A, inputs.A).transpose(1, 2).contiguous(),
        _sum(grad_B, inputs.B),
        _sum(grad_C, inputs.C),
        *(inputs.u.new_empty(0) if x is None else _sum(gradient, x) for gradient, x in optional),
    )


def num_warps_for(num_forward_warps: int) -> int:
    """Twice those of the forward pass where it has several, which would spill registers here."""
    return 1 if num_forward_warps == 1 else 2 * num_forward_warps


def _sum(gradient: Tensor, like: Tensor) -> Tensor:
    """Over the programs, in the operand's type."""
    return gradient.sum(0).to(like.dtype)


@triton.jit(do_not_specialize=["offset"])
def backward_kernel(
    u,
    delta,
    A,
    B,
    C,
    D,
    z,
    delta_bias,
    grad,
    checkpoints,
    scratch,
    grad_u,
    grad_delta,
    grad_A,
    grad_B,
    grad_C,
    grad_D,
    grad_z,
    grad_bias,
    u_g,
    u_b,
    u_l,
    delta_g,
    delta_b,
    delta_l,
    B_g,
    B_b,
    B_l,
    C_g,
    C_b,
    C_l,
    z_b,
    z_l,
    batch,
    length,
    channels,
    offset,
    REVERSED: tl.constexpr,
    NUM_STATES: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    IS_FLOAT64: tl.constexpr,
    CHECKPOINT_STEPS: tl.constexpr,
):
    """Walk the tokens of one row, direction and block of channels, last to first."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    block = tl.program_id(0)
    g = tl.program_id(2).to(tl.int64)
    b = tl.program_id(1).to(tl.int64)
    num_blocks = tl.num_programs(0)
    num_directions = tl.num_programs(2)
    e = block * BLOCK_E + tl.arange(0, BLOCK_E)
    n = tl.arange(0, BLOCK_N)
    e_in = e < channels
    n_in = n < NUM_STATES
    tile_in = n_in[:, None] & e_in[None, :]
    tile = n[:, None] * channels + e[None, :] + offset
    is_reversed = (REVERSED >> g) & 1
    first = is_reversed * (length - 1)
    sign = 1 - 2 * is_reversed

    rates = tl.load(A + g * NUM_STATES * channels + tile, mask=tile_in, other=0.0).to(ACC)
    if not IS_FLOAT64:
        rates = rates * LOG2_E
    skip = tl.zeros([BLOCK_E], ACC)
    if D is not None:
        skip = tl.load(D + g * channels + e, mask=e_in, other=0.0).to(ACC)
    bias = tl.zeros([BLOCK_E], ACC)
    if delta_bias is not None:
        bias = tl.load(delta_bias + g * channels + e, mask=e_in, other=0.0).to(ACC)

    row = g * batch + b
    u_row = u + g * u_g + b * u_b + e
    delta_row = delta + g * delta_g + b * delta_b + e
    B_row = B + g * B_g + b * B_b + n
    C_row = C + g * C_g + b * C_b + n
    num_spans = tl.cdiv(length, CHECKPOINT_STEPS)
    checkpoint_row = checkpoints + row * num_spans * NUM_STATES * channels
    scratch_row = scratch + (row * num_blocks + block) * (
        tl.minimum(length, CHECKPOINT_STEPS) * BLOCK_N * BLOCK_E
    )
    scratch_tile = n[:, None] * BLOCK_E + tl.arange(0, BLOCK_E)[None, :] + offset
    per_state_row = ((block * num_directions + g) * batch + b) * length * NUM_STATES + n

    adjoint = tl.zeros([BLOCK_N, BLOCK_E], ACC)
    sum_A = tl.zeros([BLOCK_N, BLOCK_E], ACC)
    sum_D = tl.zeros([BLOCK_E], ACC)
    sum_bias = tl.zeros([BLOCK_E], ACC)
    for span_from_end in range(num_spans):
        span = num_spans - 1 - span_from_end
        start = span * CHECKPOINT_STEPS
        num_steps = tl.minimum(CHECKPOINT_STEPS, length - start)
        state = tl.load(
            checkpoint_row + span * NUM_STATES * channels + tile, mask=tile_in, other=0.0
        )
        for step in range(num_steps):
            t = first + sign * (start + step)
            tl.store(scratch_row + step * BLOCK_N * BLOCK_E + scratch_tile, state)
            x = tl.load(u_row + t * u_l, mask=e_in, other=0.0).to(ACC)
            d = tl.load(delta_row + t * delta_l, mask=e_in, other=0.0).to(ACC) + bias
            b_t = tl.load(B_row + t * B_l, mask=n_in, other=0.0).to(ACC)
            if SOFTPLUS:
                d = softplus(d, IS_FLOAT64)
            state = power(d[None, :] * rates, IS_FLOAT64) * state + (d * x)[None, :] * b_t[:, None]
        # another thread may load what this one stored
        tl.debug_barrier()
        for step_from_end in range(num_steps):
            step = num_steps - 1 - step_from_end
            t = first + sign * (start + step)
            x = tl.load(u_row + t * u_l, mask=e_in, other=0.0).to(ACC)
            biased = tl.load(delta_row + t * delta_l, mask=e_in, other=0.0).to(ACC) + bias
            b_t = tl.load(B_row + t * B_l, mask=n_in, other=0.0).to(ACC)
            c_t = tl.load(C_row + t * C_l, mask=n_in, other=0.0).to(ACC)
            previous = tl.load(scratch_row + step * BLOCK_N * BLOCK_E + scratch_tile)
            d = biased
            if SOFTPLUS:
                d = softplus(biased, IS_FLOAT64)
            decay = power(d[None, :] * rates, IS_FLOAT64)
            state = decay * previous + (d * x)[None, :] * b_t[:, None]

            here = (b * length + t) * channels + e
            dy = tl.load(grad + here, mask=e_in, other=0.0).to(ACC)
            of_direction = (row * length + t) * channels + e
            if z is not None:
                gate = tl.load(z + b * z_b + t * z_l + e, mask=e_in, other=0.0).to(ACC)
                sigmoid = tl.sigmoid(gate)
                y_t = tl.sum(state * c_t[:, None], axis=0) + skip * x
                slope = sigmoid * (1.0 + gate * (1.0 - sigmoid))
                tl.store(grad_z + of_direction, dy * y_t * slope, mask=e_in)
                dy = dy * gate * sigmoid
            adjoint += c_t[:, None] * dy[None, :]
            per_state = per_state_row + t * NUM_STATES
            tl.store(grad_C + per_state, tl.sum(state * dy[None, :], axis=1), mask=n_in)
            tl.store(grad_B + per_state, tl.sum(adjoint * (d * x)[None, :], axis=1), mask=n_in)
            adjoint_B = tl.sum(adjoint * b_t[:, None], axis=0)
            tl.store(grad_u + of_direction, d * adjoint_B + skip * dy, mask=e_in)
            adjoint = adjoint * decay
            exponent = adjoint * previous
            sum_A += exponent * d[None, :]
            grad_d = tl.sum(exponent * rates, axis=0)
            if not IS_FLOAT64:
                grad_d = grad_d / LOG2_E
            grad_d += x * adjoint_B
            if SOFTPLUS:
                grad_d = tl.where(biased > 20.0, grad_d, grad_d * tl.sigmoid(biased))
            tl.store(grad_delta + of_direction, grad_d, mask=e_in)
            sum_bias += grad_d
            sum_D += dy * x
        tl.debug_barrier()

    channel_row = (b * num_directions + g) * channels
    tl.store(grad_A + channel_row * NUM_STATES + tile, sum_A, mask=tile_in)
    tl.store(grad_D + channel_row + e, sum_D, mask=e_in)
    tl.store(grad_bias + channel_row + e, sum_bias, mask=e_in)
