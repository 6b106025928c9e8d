"""Gradients of the selective scan as machine code made at run time, on all cores.

Everything is computed in float32. What is summed over channels (B, C) is written for each part of
the channels, what is summed over tokens (A, D, the bias) for each row, and added up in order: the
gradients are the same for any number of threads.

Legend: G directions, B batch, L tokens, E channels, N states, P parts of the channels, W lanes.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

import torch
from torch import Tensor

from model_zoo.kernels._channel_walk import CHUNK_STEPS, dense
from model_zoo.kernels._huge_pages import in_huge_pages
from model_zoo.kernels._llvm import InstructionSet, NativeKernel, compile_kernel
from model_zoo.kernels._threads import added_in_order
from model_zoo.kernels.selective_scan.inputs import ScanInputs
from model_zoo.kernels.selective_scan.native import Scan, parameters

PART_CHANNELS: Final = 192  # a task's
STATES_ABREAST: Final = 4  # walked through a chunk at a time: what is kept of them fits into L1


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanBackward(Scan):
    """What code is made for; see `Scan`."""

    STREAMS: ClassVar = {
        "u": "gbl",
        "delta": "gbl",
        "B": "gbl",
        "C": "gbl",
        "z": "bl",
        "grad": "bl",
        "checkpoints": "gbl",  # l counts checkpoints
        "grad_u": "gbl",
        "grad_delta": "gbl",
        "grad_z": "bl",
        "grad_B": "pgbl",
        "grad_C": "pgbl",
    }
    OTHERS: ClassVar[Sequence[str]] = (
        *("A", "D", "delta_bias", "grad_A", "grad_D", "grad_bias"),
        *("checkpoint_steps", "blocks_per_task"),
    )
    NUM_BUFFERS: ClassVar = 6
    IS_BACKWARD: ClassVar = True

    @property
    def num_kept(self) -> int:
        """Adjoints, sums for A, and those for D and the bias."""
        return 2 * self.num_states + 2

    @property
    def num_shared(self) -> int:
        """Sums for B and C, states on entry, and states and decays of a group."""
        return (2 * CHUNK_STEPS + 1) * self.num_states + 2 * CHUNK_STEPS * STATES_ABREAST

    @property
    def channel_streams(self) -> tuple[str, ...]:
        """Operands and gradients."""
        of_gate = ("z", "grad_z") if self.is_gated else ()
        return ("u", "delta", "grad", "grad_u", "grad_delta", *of_gate)

    @property
    def channel_outputs(self) -> tuple[str, ...]:
        """Gradients; that of the gate is read too, by later directions."""
        return tuple(name for name in self.channel_streams if name.startswith("grad_"))

    @property
    def group_sizes(self) -> list[int]:
        """How many states are walked through a chunk at a time."""
        whole, rest = divmod(self.num_states, STATES_ABREAST)
        return [STATES_ABREAST] * whole + [rest] * (rest > 0)


def is_possible(checkpoint_steps: int) -> bool:
    """Whether there is a checkpoint for each chunk."""
    return checkpoint_steps == CHUNK_STEPS


def backward(
    grad: Tensor, inputs: ScanInputs, checkpoints: Tensor, *, level: InstructionSet
) -> tuple[Tensor, ...]:
    """Differentiate; results as of the operator `model_zoo::selective_scan_backward`."""
    wide = torch.float32
    streams = {"u": inputs.u, "delta": inputs.delta, "grad": grad, "z": inputs.z}
    operands = {name: dense(x, wide) for name, x in streams.items() if x is not None}
    operands |= parameters(inputs, level) | {"checkpoints": checkpoints}
    num_directions, batch, length, channels = inputs.u.shape
    blocks_per_task = PART_CHANNELS // level.num_lanes
    num_blocks = operands["A"].shape[1]
    per_state = grad.new_empty(
        2, -(-num_blocks // blocks_per_task), *inputs.B.shape, dtype=wide
    )  # (2, P, G, B, L, N)
    per_channel = (batch, num_directions, num_blocks)
    results = {
        "grad_u": in_huge_pages(grad.new_empty(inputs.u.shape, dtype=wide)),
        "grad_delta": in_huge_pages(grad.new_empty(inputs.u.shape, dtype=wide)),
        "grad_A": grad.new_empty(*per_channel, inputs.num_states, level.num_lanes, dtype=wide),
        "grad_B": per_state[0],
        "grad_C": per_state[1],
        "grad_D": grad.new_empty(*per_channel, 1, level.num_lanes, dtype=wide),
        "grad_z": grad.new_empty(grad.shape if inputs.z is not None else 0, dtype=wide),
        "grad_bias": grad.new_empty(*per_channel, 1, level.num_lanes, dtype=wide),
    }
    kind = ScanBackward.of(inputs, wide, level)
    kind.run(
        _kernel(kind),
        operands | results,
        shape=(batch, length, channels),
        reverse=inputs.reverse,
        checkpoint_steps=CHUNK_STEPS,
        blocks_per_task=blocks_per_task,
    )
    for name in ("grad_A", "grad_D", "grad_bias"):
        results[name] = _out_of_blocks(added_in_order(results[name]), channels)
    for name in ("grad_B", "grad_C"):
        results[name] = added_in_order(results[name])
    results["grad_D"], results["grad_bias"] = (
        results["grad_D"][..., 0],
        results["grad_bias"][..., 0],
    )
    wanted = (
        *(inputs.u, inputs.delta, inputs.A, inputs.B, inputs.C),
        *(inputs.D, inputs.z, inputs.delta_bias),
    )
    return tuple(
        grad.new_empty(0) if operand is None else gradient.to(operand.dtype)
        for operand, gradient in zip(wanted, results.values(), strict=True)
    )


def _out_of_blocks(x: Tensor, channels: int) -> Tensor:
    """(G, blocks, N, W) -> (G, E, N)."""
    return x.transpose(2, 3).flatten(1, 2)[:, :channels].contiguous()


@functools.cache
def _kernel(kind: ScanBackward) -> NativeKernel:
    # loads llvmlite
    from model_zoo.kernels.selective_scan.native_backward_code import ScanBackwardIR

    return compile_kernel(ScanBackwardIR(kind).emit(), kind.level)
