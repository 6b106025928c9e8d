"""What the compiled causal convolution does with a chunk of tokens and a block of channels.

Each token is read once a direction; the tokens before it are at hand in registers.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from model_zoo.kernels._channel_walk_ir import ChannelWalkIR, Place, Steps
from model_zoo.kernels.causal_conv1d.native import Convolution


class ConvolutionIR(ChannelWalkIR[Convolution]):
    """Writes the causal convolution."""

    def __init__(self, kind: Convolution) -> None:
        super().__init__(kind, "causal_conv1d")

    def chunk(self, place: Place, streams: Mapping[str, Steps]) -> None:
        """Convolve, and keep the last tokens for the chunk that follows."""
        code, kind = self.code, self.kind
        taps_at = self.of_block("taps", place, kind.num_taps)
        taps = [code.load(self.vector_at(taps_at, k)) for k in range(kind.num_taps)]
        bias = code.load(self.of_block("bias", place))

        def body(t: Any, *before: Any) -> Sequence[Any]:
            self.prefetch_next_block(streams, t)
            tokens = (*before, *code.load(self.at_step(streams["x"], t), kind.dtype))
            y = bias
            for k, tap in enumerate(taps):
                y = code.multiply_add(tap, tokens[k : k + len(t)], y)
            y = code.silu(y) if kind.silu else y
            code.store(y, self.at_step(streams["y"], t), kind.dtype)
            return tokens[len(t) :]

        before = [code.load(self.vector_at(place.kept, k)) for k in range(kind.num_kept)]
        for k, token in enumerate(self.loop_abreast(place.num_steps, body, before)):
            code.store(token, self.vector_at(place.kept, k))
