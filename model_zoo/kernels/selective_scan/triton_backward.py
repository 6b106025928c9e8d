"""Gradients of the selective scan for CUDA in Triton.

A program walks a span of tokens of one row, direction and block of channels, as those of `triton`
do, one stretch between checkpoints after the other, the last first. In each it recomputes every
second state into a scratch of its own and then runs the adjoint back, two steps at a time: both
their decays and the state between them stay in registers.

Gradients of B and C are sums over channels, those of u and delta over states. Here a warp's lanes
therefore are four blocks of states by eight of channels, which is what aligned loads of the tile
give: 48 exchanges between lanes a step, where lanes along the channels alone take 160. What is
evaluated once a channel is evaluated for two steps at once, spread over all lanes. Sums over
programs are torch's, so that the result is deterministic.

Where tokens are split in spans a first launch finds, as in `triton`, what each span makes of an
adjoint of zero; a program of the second begins with what the spans behind its own add up to.

Legend: G directions, B batch, L tokens, E channels, N states, S spans.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from model_zoo.kernels.selective_scan.inputs import ScanInputs
from model_zoo.kernels.selective_scan.triton import (
    LOG2_E,
    power,
    softplus,
    state_after,
)
from model_zoo.kernels.selective_scan.triton_adjoint import adjoint_kernel
from model_zoo.kernels.selective_scan.triton_launch import (
    BLOCK_CHANNELS,
    OFFSET,
    Operands,
)


def backward(
    grad: Tensor,
    inputs: ScanInputs,
    checkpoints: Tensor,
    *,
    checkpoint_steps: int,
    span_tokens: int | None = None,
) -> tuple[Tensor, ...]:
    """Differentiate; results as of the operator `model_zoo::selective_scan_backward`.

    Args:
        span_tokens: A multiple of `checkpoint_steps`; by default as many as fill the device.
    """
    num_directions, batch, length, channels = inputs.u.shape
    num_states = inputs.num_states
    operands = Operands(inputs)
    span_tokens = span_tokens or operands.span_tokens(length, checkpoint_steps=checkpoint_steps)
    num_spans = triton.cdiv(length, span_tokens)
    num_blocks = operands.num_blocks
    grad = grad.contiguous()
    options = operands.constants | operands.launch_options
    sizes = (*operands.strides, batch, length, channels, span_tokens, num_spans)

    def wide(*shape: int) -> Tensor:
        return inputs.u.new_empty(shape, dtype=inputs.dtype)

    ends = elapsed = None
    if num_spans > 1:
        ends, elapsed = operands.empty_ends(num_spans)
        adjoint_kernel[operands.grid(num_spans - 1)](
            *operands.pointers(z=inputs.z), grad, ends, elapsed, *sizes, OFFSET, **options
        )
    scratch = wide(
        num_directions * batch * num_spans * num_blocks,
        triton.cdiv(min(checkpoint_steps, length), 2),
        operands.constants["BLOCK_N"],
        BLOCK_CHANNELS,
    )
    grad_u = inputs.u.new_empty(inputs.u.shape)
    grad_delta = inputs.delta.new_empty(inputs.delta.shape)
    grad_A = wide(num_spans, batch, num_directions, num_states, channels)
    grad_B_and_C = wide(num_blocks, num_directions, batch, length, 2, num_states)
    grad_D = wide(num_spans, batch, num_directions, channels)
    grad_bias = torch.empty_like(grad_D)
    grad_z = wide(*(inputs.u.shape if inputs.z is not None else (0,)))
    backward_kernel[operands.grid(num_spans)](
        *operands.pointers(z=inputs.z),
        *(grad, checkpoints, scratch, ends, elapsed),
        *(grad_u, grad_delta, grad_A, grad_B_and_C, grad_D, grad_z, grad_bias),
        *sizes,
        CHECKPOINT_STEPS=checkpoint_steps,
        **options | {"num_warps": num_warps_for(operands.num_warps)},
    )
    sum_B_and_C = grad_B_and_C.sum(0)
    optional = (
        (grad_D.flatten(0, 1), inputs.D),
        (grad_z, inputs.z),
        (grad_bias.flatten(0, 1), inputs.delta_bias),
    )
    return (
        grad_u,
        grad_delta,
        _sum(grad_A.flatten(0, 1), inputs.A).transpose(1, 2).contiguous(),
        sum_B_and_C[..., 0, :].to(inputs.B.dtype).contiguous(),
        sum_B_and_C[..., 1, :].to(inputs.C.dtype).contiguous(),
        *(inputs.u.new_empty(0) if x is None else _sum(gradient, x) for gradient, x in optional),
    )


def num_warps_for(num_forward_warps: int) -> int:
    """Twice those of the forward pass where it has several, which would spill registers here."""
    return 1 if num_forward_warps == 1 else 2 * num_forward_warps


def _sum(gradient: Tensor, like: Tensor) -> Tensor:
    """Over the programs, in the operand's type."""
    return gradient.sum(0).to(like.dtype)


@triton.jit
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
    ends,
    elapsed,
    grad_u,
    grad_delta,
    grad_A,
    grad_B_and_C,
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
    span_tokens,
    num_spans,
    REVERSED: tl.constexpr,
    NUM_STATES: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    IS_FLOAT64: tl.constexpr,
    CHECKPOINT_STEPS: tl.constexpr,
):
    """Walk a span of one row, direction and block of channels, last to first."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    num_blocks = tl.cdiv(channels, BLOCK_E)
    block = tl.program_id(0) % num_blocks
    span = tl.program_id(0) // num_blocks
    g = tl.program_id(2).to(tl.int64)
    b = tl.program_id(1).to(tl.int64)
    row = g * batch + b
    e = block * BLOCK_E + tl.arange(0, BLOCK_E)
    n = tl.arange(0, BLOCK_N)
    k = tl.arange(0, 2)  # the steps of a pair
    e_in = e < channels
    tile_in = (n < NUM_STATES)[:, None] & e_in[None, :]
    tile = n[:, None] * channels + e[None, :]
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
    skip = skip[:, None]
    bias = bias[:, None]

    adjoint = tl.zeros([BLOCK_N, BLOCK_E], ACC)
    if ends is not None:
        last_end = row * (num_spans - 1) + num_spans - 2
        end_at = ends + last_end * NUM_STATES * channels + tile
        elapsed_at = elapsed + last_end * channels + e
        behind = num_spans - 1 - span
        adjoint = state_after(
            *(behind, end_at, elapsed_at, rates, -1, channels, e_in, tile_in),
            NUM_STATES,
            IS_FLOAT64,
        )

    # the first step of a pair and the second, at step 0 of the scan
    u_pair = u + g * u_g + b * u_b + first * u_l + e[:, None] + k[None, :] * sign * u_l
    delta_pair = delta + g * delta_g + b * delta_b + first * delta_l + e[:, None]
    delta_pair += k[None, :] * sign * delta_l
    B_pair = B + g * B_g + b * B_b + first * B_l + n[:, None] + k[None, :] * sign * B_l
    C_pair = C + g * C_g + b * C_b + first * C_l + n[:, None] + k[None, :] * sign * C_l
    dense_pair = first * channels + e[:, None] + k[None, :] * sign * channels
    if z is not None:
        z_pair = z + b * z_b + first * z_l + e[:, None] + k[None, :] * sign * z_l
    # (states, gradients of B and C, steps of a pair)
    per_state = (first + k[None, None, :] * sign) * 2 * NUM_STATES + n[:, None, None]
    per_state += tl.arange(0, 2)[None, :, None] * NUM_STATES
    per_state += ((block * tl.num_programs(2) + g) * batch + b) * length * 2 * NUM_STATES

    num_pairs_of_scratch = (tl.minimum(length, CHECKPOINT_STEPS) + 1) // 2
    scratch_tile = n[:, None] * BLOCK_E + tl.arange(0, BLOCK_E)[None, :]
    scratch_row = scratch + ((row * num_spans + span) * num_blocks + block) * (
        num_pairs_of_scratch * BLOCK_N * BLOCK_E
    )
    num_checkpoints = tl.cdiv(length, CHECKPOINT_STEPS)
    first_stretch = span * (span_tokens // CHECKPOINT_STEPS)
    last_stretch = tl.minimum(num_checkpoints, first_stretch + span_tokens // CHECKPOINT_STEPS) - 1
    sum_A = tl.zeros([BLOCK_N, BLOCK_E], ACC)
    sum_D = tl.zeros([BLOCK_E, 2], ACC)
    sum_bias = tl.zeros([BLOCK_E, 2], ACC)
    for stretches_done in range(last_stretch - first_stretch + 1):
        stretch = last_stretch - stretches_done
        start = stretch * CHECKPOINT_STEPS
        num_steps = tl.minimum(CHECKPOINT_STEPS, length - start)
        num_pairs = (num_steps + 1) // 2
        checkpoint_at = checkpoints + (row * num_checkpoints + stretch) * NUM_STATES * channels
        state = tl.load(checkpoint_at + tile, mask=tile_in, other=0.0)
        for pair in range(num_pairs):
            tl.store(scratch_row + pair * BLOCK_N * BLOCK_E + scratch_tile, state)
            is_step = num_steps > 2 * pair + k
            pair_in = e[:, None] < tl.where(is_step, channels, 0)[None, :]
            states_in = n[:, None] < tl.where(is_step, NUM_STATES, 0)[None, :]
            t = sign * (start + 2 * pair)
            x = tl.load(u_pair + t * u_l, mask=pair_in, other=0.0).to(ACC)
            d = tl.load(delta_pair + t * delta_l, mask=pair_in, other=0.0).to(ACC) + bias
            b_t = tl.load(B_pair + t * B_l, mask=states_in, other=0.0).to(ACC)
            if SOFTPLUS:
                d = softplus(d, IS_FLOAT64)
            d0, d1 = tl.split(d)
            dx0, dx1 = tl.split(d * x)
            b0, b1 = tl.split(b_t)
            state = power(d0[None, :] * rates, IS_FLOAT64) * state + dx0[None, :] * b0[:, None]
            state = power(d1[None, :] * rates, IS_FLOAT64) * state + dx1[None, :] * b1[:, None]
        # another thread may load what this one stored
        tl.debug_barrier()
        for pairs_done in range(num_pairs):
            pair = num_pairs - 1 - pairs_done
            is_step = num_steps > 2 * pair + k
            pair_in = e[:, None] < tl.where(is_step, channels, 0)[None, :]
            states_in = n[:, None] < tl.where(is_step, NUM_STATES, 0)[None, :]
            t = sign * (start + 2 * pair)
            x = tl.load(u_pair + t * u_l, mask=pair_in, other=0.0).to(ACC)
            biased = tl.load(delta_pair + t * delta_l, mask=pair_in, other=0.0).to(ACC) + bias
            b_t = tl.load(B_pair + t * B_l, mask=states_in, other=0.0).to(ACC)
            c_t = tl.load(C_pair + t * C_l, mask=states_in, other=0.0).to(ACC)
            here = b * length * channels + t * channels + dense_pair
            dy = tl.load(grad + here, mask=pair_in, other=0.0).to(ACC)
            state0 = tl.load(scratch_row + pair * BLOCK_N * BLOCK_E + scratch_tile)
            d = biased
            if SOFTPLUS:
                d = softplus(biased, IS_FLOAT64)
            # a step behind the last leaves state and adjoint as they are
            d = tl.where(is_step[None, :], d, 0.0)
            if z is not None:
                gate = tl.load(z_pair + t * z_l, mask=pair_in, other=0.0).to(ACC)
                sigmoid = tl.sigmoid(gate)
                slope = dy * sigmoid * (1.0 + gate * (1.0 - sigmoid))
                dy = dy * gate * sigmoid
            d0, d1 = tl.split(d)
            dx0, dx1 = tl.split(d * x)
            dy0, dy1 = tl.split(dy)
            b0, b1 = tl.split(b_t)
            c0, c1 = tl.split(c_t)
            decay0 = power(d0[None, :] * rates, IS_FLOAT64)
            decay1 = power(d1[None, :] * rates, IS_FLOAT64)
            state1 = decay0 * state0 + dx0[None, :] * b0[:, None]
            state2 = decay1 * state1 + dx1[None, :] * b1[:, None]

            adjoint += c1[:, None] * dy1[None, :]
            y1 = tl.sum(state2 * c1[:, None], axis=0)
            grad_c1 = tl.sum(state2 * dy1[None, :], axis=1)
            grad_b1 = tl.sum(adjoint * dx1[None, :], axis=1)
            adjoint_b1 = tl.sum(adjoint * b1[:, None], axis=0)
            adjoint *= decay1
            exponent = adjoint * state1
            sum_A += exponent * d1[None, :]
            grad_d1 = tl.sum(exponent * rates, axis=0)

            adjoint += c0[:, None] * dy0[None, :]
            y0 = tl.sum(state1 * c0[:, None], axis=0)
            grad_c0 = tl.sum(state1 * dy0[None, :], axis=1)
            grad_b0 = tl.sum(adjoint * dx0[None, :], axis=1)
            adjoint_b0 = tl.sum(adjoint * b0[:, None], axis=0)
            adjoint *= decay0
            exponent = adjoint * state0
            sum_A += exponent * d0[None, :]
            grad_d0 = tl.sum(exponent * rates, axis=0)

            both = tl.join(tl.join(grad_b0, grad_c0), tl.join(grad_b1, grad_c1))
            both_in = n[:, None, None] < tl.where(is_step, NUM_STATES, 0)[None, None, :]
            tl.store(grad_B_and_C + t * 2 * NUM_STATES + per_state, both, mask=both_in)
            of_direction = g * batch * length * channels + here
            if z is not None:
                y_t = tl.join(y0, y1) + skip * x
                tl.store(grad_z + of_direction, y_t * slope, mask=pair_in)
            adjoint_b = tl.join(adjoint_b0, adjoint_b1)
            tl.store(grad_u + of_direction, d * adjoint_b + skip * dy, mask=pair_in)
            grad_d = tl.join(grad_d0, grad_d1)
            if not IS_FLOAT64:
                grad_d = grad_d / LOG2_E
            grad_d += x * adjoint_b
            if SOFTPLUS:
                grad_d = tl.where(biased > 20.0, grad_d, grad_d * tl.sigmoid(biased))
            tl.store(grad_delta + of_direction, grad_d, mask=pair_in)
            sum_bias += tl.where(is_step[None, :], grad_d, 0.0)
            sum_D += dy * x
        tl.debug_barrier()

    channel_row = ((span * tl.num_programs(1) + b) * tl.num_programs(2) + g) * channels
    tl.store(grad_A + channel_row * NUM_STATES + tile, sum_A, mask=tile_in)
    tl.store(grad_D + channel_row + e, tl.sum(sum_D, axis=1), mask=e_in)
    tl.store(grad_bias + channel_row + e, tl.sum(sum_bias, axis=1), mask=e_in)
