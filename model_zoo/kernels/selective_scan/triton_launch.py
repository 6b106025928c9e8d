"""What the Triton kernels of both passes are launched with: operands, grid, spans of tokens.

Legend: G directions, B batch, L tokens, E channels, N states.
"""

import functools
from typing import Any, Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from model_zoo.kernels.selective_scan.inputs import ScanInputs, accumulator_dtype

BLOCK_CHANNELS: Final = 32  # a warp's lanes
MAX_WORDS_OF_A_THREAD: Final = 16  # of states
# Added to the addresses of tiles without the compiler knowing that it is 0: to widen aligned loads
# outside of the loop it would else give a thread several channels and a part of their states.
OFFSET: Final = 0

MULTIPROCESSORS_OF_AN_H100: Final = 132
# Two for each of the four schedulers: one alone waits for its own exponentials between tokens.
WARPS_A_MULTIPROCESSOR: Final = 8
SPAN_UNIT_TOKENS: Final = tl.constexpr(64)  # where no checkpoints are kept
MIN_SPAN_TOKENS: Final = 128  # against what it costs to begin one


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
        self.num_warps = num_warps_for(block_states, inputs.dtype.itemsize)
        self.launch_options = {"num_warps": self.num_warps, "enable_fp_fusion": True}
        self.num_blocks = triton.cdiv(channels, BLOCK_CHANNELS)
        self.rows = (batch, num_directions)
        self.constants: dict[str, Any] = {
            "REVERSED": sum(flag << g for g, flag in enumerate(inputs.reverse)),
            "NUM_STATES": num_states,
            "BLOCK_N": block_states,
            "BLOCK_E": BLOCK_CHANNELS,
            "SOFTPLUS": inputs.delta_softplus,
            "IS_FLOAT64": inputs.dtype == torch.float64,
        }

    def grid(self, num_spans: int) -> tuple[int, int, int]:
        """Programs for so many spans of tokens, blocks of channels next to each other."""
        return (self.num_blocks * num_spans, *self.rows)

    def span_tokens(self, length: int, *, checkpoint_steps: int) -> int:
        """Tokens that one program walks, as `span_tokens` says for these operands."""
        batch, num_directions = self.rows
        return span_tokens(
            length,
            num_warps=self.num_warps * self.num_blocks * batch * num_directions,
            num_multiprocessors=num_multiprocessors(self.u.device),
            unit_tokens=checkpoint_steps or SPAN_UNIT_TOKENS.value,
        )

    def empty_ends(self, num_spans: int) -> tuple[Tensor, Tensor]:
        """Room for what spans make of a state of zero, and for the time that passes in them.

        Of all but one span, in float32 (float64): (G, B, num_spans - 1, N, E) and without the N.
        """
        batch, num_directions = self.rows
        shape = (num_directions, batch, num_spans - 1, *self.A.shape[1:])
        ends = self.A.new_empty(shape, dtype=accumulator_dtype(self.u.dtype))
        return ends, torch.empty_like(ends[..., 0, :])

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


def span_tokens(length: int, *, num_warps: int, num_multiprocessors: int, unit_tokens: int) -> int:
    """Tokens of a span, such that all spans together fill the device; no less than `length`: one.

    To split costs nearly every exponential a second time, so that it pays only where the warps of
    unsplit rows fill half of the device or less.

    Args:
        num_warps: Of all rows and blocks of channels, unsplit.
        unit_tokens: What a span is a multiple of.
    """
    num_spans = max(1, WARPS_A_MULTIPROCESSOR * num_multiprocessors // num_warps)
    num_units = triton.cdiv(triton.cdiv(length, unit_tokens), num_spans)
    return unit_tokens * max(num_units, triton.cdiv(MIN_SPAN_TOKENS, unit_tokens))


@functools.cache
def num_multiprocessors(device: torch.device) -> int:
    """Of a CUDA device; an H100's where kernels are interpreted."""
    if device.type != "cuda":
        return MULTIPROCESSORS_OF_AN_H100
    return torch.cuda.get_device_properties(device).multi_processor_count


def num_warps_for(block_states: int, itemsize: int) -> int:
    """Warps of a program, such that a thread's registers have room for its states."""
    return max(1, block_states * itemsize // 4 // MAX_WORDS_OF_A_THREAD)


def _dense_in_channels(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()
