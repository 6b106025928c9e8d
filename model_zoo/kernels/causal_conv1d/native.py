"""The causal convolution as machine code made at run time, on all cores.

Sums are in float32; operands in float16 and bfloat16 are widened in registers.

Legend: G directions, B batch, L tokens, E channels, K taps, W lanes of a vector.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from model_zoo.kernels._channel_walk import ChannelWalk, common_dtype, dense, in_blocks
from model_zoo.kernels._huge_pages import in_huge_pages
from model_zoo.kernels._llvm import InstructionSet, NativeKernel, compile_kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution(ChannelWalk):
    """What code is made for."""

    STREAMS: ClassVar = {"x": "bl", "y": "gbl"}
    OTHERS: ClassVar = ("taps", "bias")
    NUM_BUFFERS: ClassVar = 0

    num_taps: int
    silu: bool

    @property
    def num_kept(self) -> int:
        """The tokens before."""
        return self.num_taps - 1

    @property
    def channel_streams(self) -> tuple[str, ...]:
        """Input and output."""
        return ("x", "y")


def forward(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    *,
    reverse: Sequence[bool],
    silu: bool,
    level: InstructionSet,
) -> Tensor:
    """Convolve on a CPU, not in float64; as of the operator `model_zoo::causal_conv1d`."""
    dtype = common_dtype([x], level)
    y = in_huge_pages(x.new_empty((len(reverse), *x.shape), dtype=dtype))
    bias = weight.new_zeros(weight.shape[:2]) if bias is None else bias
    operands = {
        "x": dense(x, dtype),
        "y": y,
        "taps": in_blocks(weight, level),  # (G, blocks, K, W)
        "bias": in_blocks(bias.unsqueeze(2), level),  # (G, blocks, 1, W)
    }
    kind = Convolution(level=level, dtype=dtype, num_taps=weight.shape[2], silu=silu)
    kind.run(_kernel(kind), operands, shape=x.shape, reverse=reverse)
    return y.to(x.dtype)


@functools.cache
def _kernel(kind: Convolution) -> NativeKernel:
    from model_zoo.kernels.causal_conv1d.native_code import ConvolutionIR  # loads llvmlite

    return compile_kernel(ConvolutionIR(kind).emit(), kind.level)
