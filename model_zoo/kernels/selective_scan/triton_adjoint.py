"""The adjoint that each span of tokens passes on, for the backward pass split in spans.

One launch before that of `triton_backward`: what a span makes of an adjoint of zero. Legend there.
"""

import triton
import triton.language as tl

from model_zoo.kernels.selective_scan.triton import (
    LOG2_E,
    STEPS_AHEAD,
    advanced,
    first_steps,
    power,
    softplus,
)
from model_zoo.kernels.selective_scan.triton_launch import SPAN_UNIT_TOKENS


@triton.jit(do_not_specialize=["offset"])
def adjoint_kernel(
    u,
    delta,
    A,
    B,
    C,
    D,
    z,
    delta_bias,
    grad,
    ends,
    elapsed,
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
    offset,
    REVERSED: tl.constexpr,
    NUM_STATES: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_E: tl.constexpr,
    SOFTPLUS: tl.constexpr,
    IS_FLOAT64: tl.constexpr,
):
    """Walk a span, but the first, last step first, to what it makes of an adjoint of zero."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    num_blocks = tl.cdiv(channels, BLOCK_E)
    span = tl.program_id(0) // num_blocks + 1
    g = tl.program_id(2).to(tl.int64)
    b = tl.program_id(1).to(tl.int64)
    e = tl.program_id(0) % num_blocks * BLOCK_E + tl.arange(0, BLOCK_E)
    n = tl.arange(0, BLOCK_N)
    e_in = e < channels
    tile_in = (n < NUM_STATES)[:, None] & e_in[None, :]
    tile = n[:, None] * channels + e[None, :] + offset
    is_reversed = (REVERSED >> g) & 1
    sign = 1 - 2 * is_reversed
    start = span * span_tokens
    num_steps = tl.minimum(span_tokens, length - start)
    last = is_reversed * (length - 1) + sign * (start + num_steps - 1)

    rates = tl.load(A + g * NUM_STATES * channels + tile, mask=tile_in, other=0.0).to(ACC)
    if not IS_FLOAT64:
        rates = rates * LOG2_E
    bias = tl.zeros([BLOCK_E], ACC)
    if delta_bias is not None:
        bias = tl.load(delta_bias + g * channels + e, mask=e_in, other=0.0).to(ACC)

    delta_at = delta + g * delta_g + b * delta_b + last * delta_l + e
    C_at = C + g * C_g + b * C_b + last * C_l + n
    grad_at = grad + (b * length + last) * channels + e
    deltas, delta_at = first_steps(delta_at, -sign * delta_l, e, channels, num_steps)
    Cs, C_at = first_steps(C_at, -sign * C_l, n, NUM_STATES, num_steps)
    grads, grad_at = first_steps(grad_at, -sign * channels, e, channels, num_steps)
    if z is not None:
        z_at = z + b * z_b + last * z_l + e
        zs, z_at = first_steps(z_at, -sign * z_l, e, channels, num_steps)
    adjoint = tl.zeros([BLOCK_N, BLOCK_E], ACC)
    sum_of_steps = tl.zeros([BLOCK_E], ACC)
    for begin in range(0, num_steps, SPAN_UNIT_TOKENS):
        stop = tl.minimum(begin + SPAN_UNIT_TOKENS, num_steps)
        for step in tl.range(begin, stop, loop_unroll_factor=STEPS_AHEAD):
            d, c_t, dy = deltas[0].to(ACC) + bias, Cs[0].to(ACC), grads[0].to(ACC)
            channels_ahead = tl.where(num_steps > step + STEPS_AHEAD, channels, 0)
            states_ahead = tl.where(num_steps > step + STEPS_AHEAD, NUM_STATES, 0)
            deltas, delta_at = advanced(deltas, delta_at, -sign * delta_l, e < channels_ahead)
            Cs, C_at = advanced(Cs, C_at, -sign * C_l, n < states_ahead)
            grads, grad_at = advanced(grads, grad_at, -sign * channels, e < channels_ahead)
            if z is not None:
                gate = zs[0].to(ACC)
                zs, z_at = advanced(zs, z_at, -sign * z_l, e < channels_ahead)
                dy = dy * gate * tl.sigmoid(gate)
            if SOFTPLUS:
                d = softplus(d, IS_FLOAT64)
            decay = power(d[None, :] * rates, IS_FLOAT64)
            adjoint = decay * (adjoint + c_t[:, None] * dy[None, :])
            sum_of_steps += d
    at = (g * batch + b) * (num_spans - 1) + span - 1
    tl.store(ends + at * NUM_STATES * channels + tile, adjoint, mask=tile_in)
    tl.store(elapsed + at * channels + e, sum_of_steps, mask=e_in)
