"""The selective scan as machine code made at run time, on all cores.

The state is in float32; operands in float16 and bfloat16 are widened in registers.

Legend: G directions, B batch, L tokens, E channels, N states, W lanes of a vector.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch
from torch import Tensor

from model_zoo.kernels._channel_walk import ChannelWalk, common_dtype, dense, in_blocks
from model_zoo.kernels._huge_pages import in_huge_pages
from model_zoo.kernels._llvm import InstructionSet, NativeKernel, compile_kernel
from model_zoo.kernels.selective_scan.inputs import LOG2_E, ScanInputs, accumulator_dtype


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan(ChannelWalk):
    """What code is made for.

    Attributes:
        is_decaying: Whether no state can grow by itself; False if unknown.
        is_gated: Whether there is a z.
    """

    STREAMS: ClassVar = {
        "u": "gbl",
        "delta": "gbl",
        "B": "gbl",
        "C": "gbl",
        "z": "bl",
        "y": "bl",
        "checkpoints": "gbl",  # l counts checkpoints
    }
    OTHERS: ClassVar[Sequence[str]] = ("A", "D", "delta_bias", "checkpoint_steps")
    NUM_BUFFERS: ClassVar = 3

    num_states: int
    delta_softplus: bool
    is_decaying: bool
    is_gated: bool

    @classmethod
    def of(cls, inputs: ScanInputs, dtype: torch.dtype, level: InstructionSet) -> Self:
        """What the code for these operands is, computed in `dtype`."""
        return cls(
            level=level,
            dtype=dtype,
            num_states=inputs.num_states,
            delta_softplus=inputs.delta_softplus,
            is_decaying=inputs.delta_softplus and bool((inputs.A <= 0).all()),
            is_gated=inputs.z is not None,
        )

    @property
    def num_kept(self) -> int:
        """The states."""
        return self.num_states

    @property
    def channel_streams(self) -> tuple[str, ...]:
        """The output, which later directions read too, is the last."""
        return ("u", "delta", "z", "y") if self.is_gated else ("u", "delta", "y")

    @property
    def group_sizes(self) -> list[int]:
        """How many states are held in registers at a time: half of those there are, evened out."""
        num_groups = -(-self.num_states // (self.level.num_registers // 2))
        size, num_larger = divmod(self.num_states, num_groups)
        return [size + (group < num_larger) for group in range(num_groups)]


def forward(
    inputs: ScanInputs, *, checkpoint_steps: int, level: InstructionSet
) -> tuple[Tensor, Tensor]:
    """Scan on a CPU, not in float64; results as of the operator `model_zoo::selective_scan`."""
    streams = {"u": inputs.u, "delta": inputs.delta}
    if inputs.z is not None:
        streams["z"] = inputs.z
    dtype = common_dtype(list(streams.values()), level)
    operands = {name: dense(x, dtype) for name, x in streams.items()}
    operands |= parameters(inputs, level)
    y = in_huge_pages(inputs.u.new_empty(inputs.u.shape[1:], dtype=dtype))
    checkpoints = inputs.empty_checkpoints(checkpoint_steps)
    kind = Scan.of(inputs, dtype, level)
    kind.run(
        _kernel(kind),
        operands | {"y": y, "checkpoints": checkpoints},
        shape=y.shape,
        reverse=inputs.reverse,
        checkpoint_steps=checkpoint_steps,
    )
    return y.to(inputs.u.dtype), checkpoints


def parameters(inputs: ScanInputs, level: InstructionSet) -> dict[str, Tensor]:
    """What is float32 whatever the streams are; rates hold the factor that makes exp an exp2."""
    wide = accumulator_dtype(inputs.u.dtype)
    A = in_blocks(inputs.A * LOG2_E, level)  # (G, blocks, N, W)
    parameters = {"A": A, "B": dense(inputs.B, wide), "C": dense(inputs.C, wide)}
    for name, x in (("D", inputs.D), ("delta_bias", inputs.delta_bias)):
        per_channel = A.new_zeros(inputs.A.shape[:2]) if x is None else x
        parameters[name] = in_blocks(per_channel.unsqueeze(2), level)  # (G, blocks, 1, W)
    return parameters


@functools.cache
def _kernel(kind: Scan) -> NativeKernel:
    from model_zoo.kernels.selective_scan.native_code import ScanIR  # loads llvmlite

    return compile_kernel(ScanIR(kind).emit(), kind.level)
