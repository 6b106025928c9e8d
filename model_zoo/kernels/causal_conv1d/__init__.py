"""Depthwise causal convolution of several directions, with bias and SiLU in one operator.

Direction g of token t is silu(bias_g + sum over k of weight_gk x_{t-(K-1)+k}); a reversed direction
looks ahead instead, which equals flip, convolve, flip without the copies. Source: the short
convolution of Mamba, arXiv:2312.00752; both directions as in Vim, arXiv:2401.09417.
"""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from model_zoo._errors import UnsupportedInputError
from model_zoo.kernels.causal_conv1d import cpu

_LIBRARY: Final = torch.library.Library("model_zoo", "FRAGMENT")
_LIBRARY.define(
    "causal_conv1d(Tensor x, Tensor weight, Tensor? bias, *, bool[] reverse, bool silu) -> Tensor"
)


def causal_conv1d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    reverse: Sequence[bool],
    silu: bool = True,
) -> Tensor:
    """Convolve `x` once for each direction: (B, L, E) -> (G, B, L, E) of `x`'s type.

    Sums are in float32 (float64 for float64 `x`). `x` may be strided.

    Args:
        weight: (G, E, K), the last tap on the token itself.
        bias: (G, E).
        reverse: Of each direction, whether it looks ahead.
        silu: Whether SiLU follows.

    Raises:
        UnsupportedInputError: Shapes that do not go together.
    """
    num_directions, channels = len(reverse), x.shape[-1]
    if weight.shape[:-1] != (num_directions, channels):
        raise UnsupportedInputError(
            f"weight must be ({num_directions}, {channels}, K) for x {tuple(x.shape)} and"
            f" {num_directions} directions, not {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != (num_directions, channels):
        raise UnsupportedInputError(
            f"bias must be {(num_directions, channels)}, not {tuple(bias.shape)}"
        )
    return torch.ops.model_zoo.causal_conv1d(x, weight, bias, reverse=reverse, silu=silu)


_LIBRARY.impl("causal_conv1d", cpu.forward, "CPU")
_LIBRARY.impl("causal_conv1d", cpu.forward, "CUDA")


def _fake(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, reverse: Sequence[bool], silu: bool
) -> Tensor:
    return x.new_empty(weight.shape[0], *x.shape)


torch.library.register_fake("model_zoo::causal_conv1d", _fake, lib=_LIBRARY)
