"""The selective scan for CUDA in Triton, sequential in time with the states in registers.

A program walks a span of tokens of one batch row and direction for a block of channels; a reversed
direction walks with a negative stride, so that nothing is flipped or copied. The tile is
(states, channels): with a warp's 32 lanes along the channels each thread holds all states of its
channel and the sum over states needs no exchange. Operands are loaded four tokens ahead, since they
do not depend on the state. B and C, one state a lane, are widened there and reach all lanes through
shared memory: a thread that loaded and widened all states itself would spend half its time on it.
With several directions each writes its own output in the result's type and one more pass adds and
gates them, once.

Where the rows alone would leave multiprocessors idle the tokens are split in spans. A first launch
finds what each span makes of a state of zero, and how much time (sum of delta) passes in it; a
program of the second begins with the state that these add up to, in their order, so that the result
does not depend on which finishes first.

Legend: G directions, B batch, L tokens, E channels, N states.
"""

from typing import Final

import triton
import triton.language as tl
from torch import Tensor

from model_zoo.kernels.selective_scan.inputs import ScanInputs
from model_zoo.kernels.selective_scan.triton_launch import OFFSET, SPAN_UNIT_TOKENS, Operands

LOG2_E: Final = tl.constexpr(1.4426950408889634)
GATE_BLOCK: Final = (8, 128)  # tokens, channels
STEPS_AHEAD: Final = tl.constexpr(4)  # that operands are loaded; loops are unrolled as often


def forward(
    inputs: ScanInputs, *, checkpoint_steps: int, span_tokens: int | None = None
) -> tuple[Tensor, Tensor]:
    """Scan; results as of the operator `model_zoo::selective_scan`.

    Args:
        span_tokens: A multiple of `checkpoint_steps`; by default as many as fill the device.
    """
    num_directions, batch, length, channels = inputs.u.shape
    operands = Operands(inputs)
    span_tokens = span_tokens or operands.span_tokens(length, checkpoint_steps=checkpoint_steps)
    num_spans = triton.cdiv(length, span_tokens)
    is_alone = num_directions == 1
    checkpoints = inputs.empty_checkpoints(checkpoint_steps)
    of_directions = inputs.u.new_empty(inputs.u.shape)
    pointers = operands.pointers(z=inputs.z if is_alone else None)
    sizes = (*operands.strides, batch, length, channels, span_tokens, num_spans, OFFSET)
    options = operands.constants | operands.launch_options
    ends = elapsed = None
    if num_spans > 1:
        ends, elapsed = operands.empty_ends(num_spans)
        scan_kernel[operands.grid(num_spans - 1)](
            *pointers, None, None, ends, elapsed, *sizes, CHECKPOINT_STEPS=0, **options
        )
    scan_kernel[operands.grid(num_spans)](
        *(*pointers, of_directions, checkpoints, ends, elapsed),
        *sizes,
        CHECKPOINT_STEPS=checkpoint_steps,
        **options,
    )
    if is_alone:
        return of_directions[0], checkpoints
    y = inputs.u.new_empty(batch, length, channels)
    gate_grid = (triton.cdiv(length, GATE_BLOCK[0]), triton.cdiv(channels, GATE_BLOCK[1]), batch)
    gate_kernel[gate_grid](
        of_directions,
        operands.z,
        y,
        *operands.z_strides,
        length,
        channels,
        NUM_DIRECTIONS=num_directions,
        BLOCK_L=GATE_BLOCK[0],
        BLOCK_E=GATE_BLOCK[1],
        IS_FLOAT64=operands.constants["IS_FLOAT64"],
        enable_fp_fusion=True,
    )
    return y, checkpoints


@triton.jit
def softplus(x, IS_FLOAT64: tl.constexpr):
    """log(1 + exp(x)), accurate for small results."""
    return _exact_softplus(x) if IS_FLOAT64 else _fast_softplus(x)


@triton.jit
def _fast_softplus(x):
    """In float32, with one exponential and no division; above 20 the result is x, as in torch.

    The polynomial is log(1 + e) / e by its values at ten Chebyshev nodes of [0, 1]: off by 5e-9 of
    itself, 2e-7 in float32.
    """
    e = tl.exp2(-tl.abs(x) * LOG2_E)
    ratio = e * -0.0031760570127516985 + 0.019542526453733444
    ratio = ratio * e - 0.056373611092567444
    ratio = ratio * e + 0.10543623566627502
    ratio = ratio * e - 0.1526966691017151
    ratio = ratio * e + 0.1966327428817749
    ratio = ratio * e - 0.24951615929603577
    ratio = ratio * e + 0.33329710364341736
    ratio = ratio * e - 0.49999892711639404
    ratio = ratio * e + 1.0
    return tl.maximum(x, 0.0) + e * ratio


@triton.jit
def _exact_softplus(x):
    """Through log(1 + e) e / ((1 + e) - 1), which undoes the rounding of 1 + e; x above 20."""
    e = tl.exp(tl.minimum(x, 20.0))
    rounded = (1.0 + e) - 1.0
    is_tiny = rounded == 0.0
    small = tl.log(1.0 + e) * (e / tl.where(is_tiny, 1.0, rounded))
    return tl.where(x > 20.0, x, tl.where(is_tiny, e, small))


@triton.jit
def power(exponent, IS_FLOAT64: tl.constexpr):
    """2 ** exponent in float32, where the rates hold the factor log2(e); exp in float64."""
    return tl.exp(exponent) if IS_FLOAT64 else tl.exp2(exponent)


@triton.jit(do_not_specialize=["offset"])
def scan_kernel(
    u,
    delta,
    A,
    B,
    C,
    D,
    z,
    delta_bias,
    y,
    checkpoints,
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
    CHECKPOINT_STEPS: tl.constexpr,
):
    """Walk a span of one row, direction and block of channels; to its `ends` alone if y is None."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    num_blocks = tl.cdiv(channels, BLOCK_E)
    span = tl.program_id(0) // num_blocks
    g = tl.program_id(2).to(tl.int64)
    b = tl.program_id(1).to(tl.int64)
    row = g * batch + b
    e = tl.program_id(0) % num_blocks * BLOCK_E + tl.arange(0, BLOCK_E)
    n = tl.arange(0, BLOCK_N)
    e_in = e < channels
    n_in = n < NUM_STATES
    tile_in = n_in[:, None] & e_in[None, :]
    tile = n[:, None] * channels + e[None, :] + offset
    is_reversed = (REVERSED >> g) & 1
    sign = 1 - 2 * is_reversed
    start = span * span_tokens
    num_steps = tl.minimum(span_tokens, length - start)
    first = is_reversed * (length - 1) + sign * start

    rates = tl.load(A + g * NUM_STATES * channels + tile, mask=tile_in, other=0.0).to(ACC)
    if not IS_FLOAT64:
        rates = rates * LOG2_E
    skip = tl.zeros([BLOCK_E], ACC)
    if D is not None:
        skip = tl.load(D + g * channels + e, mask=e_in, other=0.0).to(ACC)
    bias = tl.zeros([BLOCK_E], ACC)
    if delta_bias is not None:
        bias = tl.load(delta_bias + g * channels + e, mask=e_in, other=0.0).to(ACC)

    state = tl.zeros([BLOCK_N, BLOCK_E], ACC)
    if ends is not None:
        end_at = ends + row * (num_spans - 1) * NUM_STATES * channels + tile
        elapsed_at = elapsed + row * (num_spans - 1) * channels + e
        if y is not None:
            state = state_after(
                *(span, end_at, elapsed_at, rates, 1, channels, e_in, tile_in),
                NUM_STATES,
                IS_FLOAT64,
            )

    u_at = u + g * u_g + b * u_b + first * u_l + e
    delta_at = delta + g * delta_g + b * delta_b + first * delta_l + e
    B_at = B + g * B_g + b * B_b + first * B_l + n
    us, u_at = first_steps(u_at, sign * u_l, e, channels, num_steps)
    deltas, delta_at = first_steps(delta_at, sign * delta_l, e, channels, num_steps)
    Bs, B_at = first_steps(B_at, sign * B_l, n, NUM_STATES, num_steps)
    if y is None:
        sum_of_steps = tl.zeros([BLOCK_E], ACC)
    else:
        C_at = C + g * C_g + b * C_b + first * C_l + n
        Cs, C_at = first_steps(C_at, sign * C_l, n, NUM_STATES, num_steps)
        y_at = y + (row * length + first) * channels + e
        if z is not None:
            z_at = z + b * z_b + first * z_l + e
            zs, z_at = first_steps(z_at, sign * z_l, e, channels, num_steps)
    if CHECKPOINT_STEPS > 0:
        checkpoint = row * tl.cdiv(length, CHECKPOINT_STEPS) + start // CHECKPOINT_STEPS
        checkpoint_at = checkpoints + checkpoint * NUM_STATES * channels + tile
    STRETCH: tl.constexpr = CHECKPOINT_STEPS if CHECKPOINT_STEPS > 0 else SPAN_UNIT_TOKENS
    for begin in range(0, num_steps, STRETCH):
        if CHECKPOINT_STEPS > 0:
            tl.store(checkpoint_at, state, mask=tile_in)
            checkpoint_at += NUM_STATES * channels
        stop = tl.minimum(begin + STRETCH, num_steps)
        for step in tl.range(begin, stop, loop_unroll_factor=STEPS_AHEAD):
            x, d, b_t = us[0].to(ACC), deltas[0].to(ACC) + bias, Bs[0].to(ACC)
            channels_ahead = tl.where(num_steps > step + STEPS_AHEAD, channels, 0)
            states_ahead = tl.where(num_steps > step + STEPS_AHEAD, NUM_STATES, 0)
            us, u_at = advanced(us, u_at, sign * u_l, e < channels_ahead)
            deltas, delta_at = advanced(deltas, delta_at, sign * delta_l, e < channels_ahead)
            Bs, B_at = advanced(Bs, B_at, sign * B_l, n < states_ahead)
            if SOFTPLUS:
                d = softplus(d, IS_FLOAT64)
            decay = power(d[None, :] * rates, IS_FLOAT64)
            state = decay * state + (d * x)[None, :] * b_t[:, None]
            if y is None:
                sum_of_steps += d
            else:
                y_t = tl.sum(state * Cs[0].to(ACC)[:, None], axis=0) + skip * x
                Cs, C_at = advanced(Cs, C_at, sign * C_l, n < states_ahead)
                if z is not None:
                    gate = zs[0].to(ACC)
                    zs, z_at = advanced(zs, z_at, sign * z_l, e < channels_ahead)
                    y_t = y_t * gate * tl.sigmoid(gate)
                tl.store(y_at, y_t, mask=e_in)
                y_at += sign * channels
    if y is None:
        tl.store(end_at + span * NUM_STATES * channels, state, mask=tile_in)
        tl.store(elapsed_at + span * channels, sum_of_steps, mask=e_in)


@triton.jit
def first_steps(at, stride, index, num_indices, num_steps):
    """An operand's values at the first steps, and where the next is."""
    first = tl.load(at, mask=index < num_indices, other=0.0)
    at += stride
    second = tl.load(at, mask=index < tl.where(num_steps > 1, num_indices, 0), other=0.0)
    at += stride
    third = tl.load(at, mask=index < tl.where(num_steps > 2, num_indices, 0), other=0.0)
    at += stride
    fourth = tl.load(at, mask=index < tl.where(num_steps > 3, num_indices, 0), other=0.0)
    return (first, second, third, fourth), at + stride


@triton.jit
def advanced(values, at, stride, is_in):
    """An operand's values one step on, and where the next is."""
    return (values[1], values[2], values[3], tl.load(at, mask=is_in, other=0.0)), at + stride


@triton.jit
def state_after(
    num_spans,
    end_at,
    elapsed_at,
    rates,
    stride,
    channels,
    e_in,
    tile_in,
    NUM_STATES: tl.constexpr,
    IS_FLOAT64: tl.constexpr,
):
    """What so many spans make of a state of zero: each decays what came before it, adds its own."""
    state = tl.zeros_like(rates)
    for _ in tl.range(num_spans, loop_unroll_factor=4):
        end = tl.load(end_at, mask=tile_in, other=0.0)
        passed = tl.load(elapsed_at, mask=e_in, other=0.0)
        end_at += stride * NUM_STATES * channels
        elapsed_at += stride * channels
        state = power(passed[None, :] * rates, IS_FLOAT64) * state + end
    return state


@triton.jit
def gate_kernel(
    of_directions,
    z,
    y,
    z_b,
    z_l,
    length,
    channels,
    NUM_DIRECTIONS: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_E: tl.constexpr,
    IS_FLOAT64: tl.constexpr,
):
    """Add the directions of a block of tokens and channels and apply the gate."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    batch = tl.num_programs(2).to(tl.int64)
    b = tl.program_id(2).to(tl.int64)
    t = (tl.program_id(0) * BLOCK_L + tl.arange(0, BLOCK_L))[:, None]
    e = (tl.program_id(1) * BLOCK_E + tl.arange(0, BLOCK_E))[None, :]
    inside = (t < length) & (e < channels)
    at = (b * length + t) * channels + e
    total = tl.zeros([BLOCK_L, BLOCK_E], ACC)
    for g in tl.static_range(NUM_DIRECTIONS):
        of_direction = of_directions + g * batch * length * channels
        total += tl.load(of_direction + at, mask=inside, other=0.0).to(ACC)
    if z is not None:
        gate = tl.load(z + b * z_b + t * z_l + e, mask=inside, other=0.0).to(ACC)
        total = total * gate * tl.sigmoid(gate)
    tl.store(y + at, total, mask=inside)
