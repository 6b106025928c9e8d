"""Compiled kernels that walk along tokens, each channel by itself: what they share outside LLVM.

The channels of a row of the batch are cut into blocks of as many as a vector has lanes. A call of
the compiled function takes one row and a run of blocks through all tokens of every direction; calls
do not depend on each other, so that a result is the same for any number of threads. What the
function reads is a table of 64-bit integers, `ChannelWalk.fields`.

Legend: G directions, B batch, L tokens, E channels, W lanes.
"""

import ctypes
import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, Final

import torch
import torch.nn.functional as F
from torch import Tensor

from model_zoo.kernels._llvm import InstructionSet, NativeKernel
from model_zoo.kernels._threads import run_tasks

CHUNK_STEPS: Final = 64  # what a chunk keeps of a block fits into L1, of all channels into L2
TASKS_PER_THREAD: Final = 2  # with more, a busy core delays less; with fewer, memory is in order
MIN_TASK_UPDATES: Final = 2**18  # of a vector lane: some 0.1 ms, well above waking a thread


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelWalk:
    """What code is made for; a subclass is an operator.

    Attributes:
        STREAMS: Operands that differ from token to token, each with its axes before the last:
            g a direction, b a row of the batch, l a token, p a part of the channels.
        OTHERS: Names of further addresses and numbers.
        NUM_BUFFERS: Arrays of a float32 for each step of a chunk and each lane.
        IS_BACKWARD: Whether the last chunk of a direction comes first.
        dtype: Of the streams of channels.
    """

    STREAMS: ClassVar[Mapping[str, str]]
    OTHERS: ClassVar[Sequence[str]]
    NUM_BUFFERS: ClassVar[int]
    IS_BACKWARD: ClassVar[bool] = False

    level: InstructionSet
    dtype: torch.dtype

    @property
    def num_kept(self) -> int:
        """Vectors that a block keeps from one chunk to the next, zero before the first."""
        raise NotImplementedError

    @property
    def channel_streams(self) -> tuple[str, ...]:
        """Streams whose last axis is the channels."""
        raise NotImplementedError

    @property
    def channel_outputs(self) -> tuple[str, ...]:
        """Those of them that are written: the last."""
        return self.channel_streams[-1:]

    @property
    def num_shared(self) -> int:
        """Vectors that the blocks of a call share, zero in the beginning."""
        return 0

    @property
    def fields(self) -> tuple[str, ...]:
        """The table: addresses, distances in bytes along the axes of streams, and the rest."""
        distances = (f"{name}_{axis}" for name, axes in self.STREAMS.items() for axis in axes)
        common = ("reversed", "num_directions", "length", "channels", "chunk_steps")
        return (*self.STREAMS, *distances, *common, *self.OTHERS)

    @property
    def buffer_bytes(self) -> int:
        """Of one buffer."""
        return CHUNK_STEPS * self.level.vector_bytes

    def scratch_bytes(self, num_blocks: int) -> int:
        """Of buffers, padded copies of a partial block, and what the blocks keep."""
        num_vectors = self.num_shared + num_blocks * self.num_kept
        num_arrays = self.NUM_BUFFERS + len(self.channel_streams)
        return num_arrays * self.buffer_bytes + num_vectors * self.level.vector_bytes

    def run(
        self,
        kernel: NativeKernel,
        operands: Mapping[str, Tensor],
        *,
        shape: Sequence[int],
        reverse: Sequence[bool],
        checkpoint_steps: int = 0,
        blocks_per_task: int = 0,
    ) -> None:
        """Run over a batch.

        Args:
            operands: Streams dense in channels, and other arrays, by name.
            shape: (B, L, E).
            checkpoint_steps: A chunk begins at each multiple of it.
            blocks_per_task: Of a call, at most; 0 if results do not depend on it.
        """
        _, length, channels = shape
        values = _addresses_and_distances(operands, self.STREAMS) | {
            "reversed": sum(flag << g for g, flag in enumerate(reverse)),
            "num_directions": len(reverse),
            "length": length,
            "channels": channels,
            "chunk_steps": math.gcd(CHUNK_STEPS, checkpoint_steps),
            "checkpoint_steps": checkpoint_steps,
            "blocks_per_task": blocks_per_task,
        }
        table = (ctypes.c_int64 * len(self.fields))(*(values.get(name, 0) for name in self.fields))

        def call(row: int, first_block: int, num_blocks: int) -> None:
            # zero, since what lanes beyond the channels hold may enter sums over lanes
            scratch = torch.zeros(self.scratch_bytes(num_blocks), dtype=torch.uint8)
            kernel.call(ctypes.addressof(table), row, first_block, num_blocks, scratch.data_ptr())

        num_blocks = -(-channels // self.level.num_lanes)
        if blocks_per_task:
            edges = [*range(0, num_blocks, blocks_per_task), num_blocks]
        else:
            edges = _edges(shape, num_blocks, len(reverse) * (1 + self.num_kept))
        run_tasks(
            functools.partial(call, row, first, last - first)
            for row in range(shape[0])
            for first, last in pairwise(edges)
        )


def common_dtype(streams: Sequence[Tensor], level: InstructionSet) -> torch.dtype:
    """The type of all streams if code can take it as it is, else float32."""
    dtypes = {x.dtype for x in streams}
    is_direct = len(dtypes) == 1 and (level.has_half or torch.float16 not in dtypes)
    return dtypes.pop() if is_direct else torch.float32


def dense(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`x` in that type, its last axis without gaps."""
    x = x.to(dtype)
    return x if x.stride(-1) == 1 or x.shape[-1] == 1 else x.contiguous()


def in_blocks(x: Tensor, level: InstructionSet) -> Tensor:
    """Float32 vectors of a block next to each other: (G, E, N) -> (G, blocks, N, W)."""
    padded = F.pad(x.float().transpose(1, 2), (0, -x.shape[1] % level.num_lanes))
    return padded.unflatten(2, (-1, level.num_lanes)).transpose(1, 2).contiguous()


def _addresses_and_distances(
    operands: Mapping[str, Tensor], streams: Mapping[str, str]
) -> dict[str, int]:
    values = {name: x.data_ptr() for name, x in operands.items()}
    for name in operands.keys() & streams.keys():
        x = operands[name]
        for axis, stride in zip(streams[name], x.stride()[:-1], strict=False):
            values[f"{name}_{axis}"] = stride * x.itemsize
    return values


def _edges(shape: Sequence[int], num_blocks: int, work: int) -> list[int]:
    """Where the blocks of a row are cut into runs; `work` is updates a token and channel."""
    batch, length, channels = shape
    num_threads = torch.get_num_threads()
    wanted = -(-TASKS_PER_THREAD * num_threads // max(batch, 1)) if num_threads > 1 else 1
    num_runs = max(1, min(wanted, num_blocks, length * channels * work // MIN_TASK_UPDATES))
    return [run * num_blocks // num_runs for run in range(num_runs + 1)]
