"""The selective scan for CUDA in Triton, sequential in time with the states in registers.

A program walks all tokens of one batch row and direction for a block of channels; a reversed
direction walks with a negative stride, so that nothing is flipped or copied. The tile is
(states, channels): with a warp's 32 lanes along the channels each thread holds all states of its
channel and the sum over states needs no exchange. Operands of the next token are loaded before the
present one is worked on, since they do not depend on the state. With several directions each writes
its own output in the result's type and one more pass adds and gates them, once.

Not done yet: at small batches there are fewer programs than an H100 has room for
(B G E / 32 of about 1000); splitting the tokens would fill it.

Legend: G directions, B batch, L tokens, E channels, N states.
"""

from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from model_zoo.kernels.selective_scan.inputs import ScanInputs

BLOCK_CHANNELS: Final = 32  # a warp's lanes
MAX_WORDS_OF_ONE_WARP: Final = 16  # of states a thread; several warps hold half as many each
GATE_BLOCK: Final = (8, 128)  # tokens, channels
# Added to the addresses of tiles without the compiler knowing that it is 0: to widen aligned loads
# outside of the loop it would else give a thread several channels and a part of their states.
OFFSET: Final = 0
LOG2_E: Final = tl.constexpr(1.4426950408889634)


def forward(inputs: ScanInputs, *, checkpoint_steps: int) -> tuple[Tensor, Tensor]:
    """Scan; results as of the operator `model_zoo::selective_scan`."""
    num_directions, batch, length, channels = inputs.u.shape
    operands = Operands(inputs)
    checkpoints = inputs.empty_checkpoints(checkpoint_steps)
    of_directions = inputs.u.new_empty(inputs.u.shape)
    is_alone = num_directions == 1
    scan_kernel[operands.grid](
        *operands.pointers(z=inputs.z if is_alone else None),
        of_directions,
        checkpoints,
        *operands.strides,
        batch,
        length,
        channels,
        OFFSET,
        **operands.constants,
        CHECKPOINT_STEPS=checkpoint_steps,
        **operands.launch_options,
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


class Operands:
    """Inputs as the kernels take them: channels (or states) next to each other in memory."""

    def __init__(self, inputs: ScanInputs) -> None:
        num_directions, batch, _, channels = inputs.u.shape
        time_varying = (inputs.u, inputs.delta, inputs.B, inputs.C)
        self.u, self.delta, self.B, self.C = (_dense_in_channels(x) for x in time_varying)
        self.z = None if inputs.z is None else _dense_in_channels(inputs.z)
        self.A = inputs.A.transpose(1, 2).contiguous()  # (G, N, E)
        self.D = None if inputs.D is None else inputs.D.contiguous()
        self.delta_bias = None if inputs.delta_bias is None else inputs.delta_bias.contiguous()
        num_states = inputs.num_states
        block_states = triton.next_power_of_2(num_states)
        num_warps = num_warps_for(block_states, inputs.dtype.itemsize)
        self.launch_options = {"num_warps": num_warps, "enable_fp_fusion": True}
        self.grid = (triton.cdiv(channels, BLOCK_CHANNELS), batch, num_directions)
        self.constants: dict[str, Any] = {
            "REVERSED": sum(flag << g for g, flag in enumerate(inputs.reverse)),
            "NUM_STATES": num_states,
            "BLOCK_N": block_states,
            "BLOCK_E": BLOCK_CHANNELS,
            "SOFTPLUS": inputs.delta_softplus,
            "IS_FLOAT64": inputs.dtype == torch.float64,
        }

    @property
    def z_strides(self) -> tuple[int, ...]:
        """Elements between batch rows and between tokens of the gate."""
        return (0, 0) if self.z is None else self.z.stride()[:2]

    @property
    def strides(self) -> tuple[int, ...]:
        """Those of u, delta, B, C (G, B, L) and of z (B, L)."""
        time_varying = (self.u, self.delta, self.B, self.C)
        return (*(s for x in time_varying for s in x.stride()[:3]), *self.z_strides)

    def pointers(self, *, z: Tensor | None) -> tuple[Tensor | None, ...]:
        """In the order of the kernels' parameters."""
        gate = None if z is None else self.z
        return (self.u, self.delta, self.A, self.B, self.C, self.D, gate, self.delta_bias)


def num_warps_for(block_states: int, itemsize: int) -> int:
    """Warps of a program, such that neither pass spills a thread's registers."""
    words = block_states * itemsize // 4
    return 1 if words <= MAX_WORDS_OF_ONE_WARP else words // (MAX_WORDS_OF_ONE_WARP // 2)


def _dense_in_channels(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


@triton.jit
def softplus(x):
    """log(1 + exp(x)), accurate for small results, x itself above 20 as in torch."""
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
    """Walk the tokens of one row, direction and block of channels."""
    ACC: tl.constexpr = tl.float64 if IS_FLOAT64 else tl.float32
    g = tl.program_id(2).to(tl.int64)
    b = tl.program_id(1).to(tl.int64)
    e = tl.program_id(0) * BLOCK_E + tl.arange(0, BLOCK_E)
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

    u_row = u + g * u_g + b * u_b + e
    delta_row = delta + g * delta_g + b * delta_b + e
    B_row = B + g * B_g + b * B_b + n
    C_row = C + g * C_g + b * C_b + n
    row = g * batch + b
    checkpoint_at = checkpoints
    if CHECKPOINT_STEPS > 0:
        checkpoint_at += row * tl.cdiv(length, CHECKPOINT_STEPS) * NUM_STATES * channels

    t = first
    next_x = tl.load(u_row + t * u_l, mask=e_in, other=0.0)
    next_d = tl.load(delta_row + t * delta_l, mask=e_in, other=0.0)
    next_b = tl.load(B_row + t * B_l, mask=n_in, other=0.0)
    next_c = tl.load(C_row + t * C_l, mask=n_in, other=0.0)
    state = tl.zeros([BLOCK_N, BLOCK_E], ACC)
    for step in range(length):
        if CHECKPOINT_STEPS > 0:
            if step % CHECKPOINT_STEPS == 0:
                tl.store(checkpoint_at + tile, state, mask=tile_in)
                checkpoint_at += NUM_STATES * channels
        x, d = next_x.to(ACC), next_d.to(ACC) + bias
        b_t, c_t = next_b.to(ACC), next_c.to(ACC)
        next_t = first + sign * tl.minimum(step + 1, length - 1)
        next_x = tl.load(u_row + next_t * u_l, mask=e_in, other=0.0)
        next_d = tl.load(delta_row + next_t * delta_l, mask=e_in, other=0.0)
        next_b = tl.load(B_row + next_t * B_l, mask=n_in, other=0.0)
        next_c = tl.load(C_row + next_t * C_l, mask=n_in, other=0.0)

        if SOFTPLUS:
            d = softplus(d)
        state = power(d[None, :] * rates, IS_FLOAT64) * state + (d * x)[None, :] * b_t[:, None]
        y_t = tl.sum(state * c_t[:, None], axis=0) + skip * x
        t = first + sign * step
        if z is not None:
            gate = tl.load(z + b * z_b + t * z_l + e, mask=e_in, other=0.0).to(ACC)
            y_t = y_t * gate * tl.sigmoid(gate)
        tl.store(y + (row * length + t) * channels + e, y_t, mask=e_in)


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
