"""The causal convolution by flips, padding and torch's own conv1d: plain, differentiable.

It is what the tests trust. Source: Mamba, arXiv:2312.00752, figure 3.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def causal_conv1d(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, reverse: Sequence[bool], silu: bool = True
) -> Tensor:
    """Convolve each direction; arguments as of `model_zoo.kernels.causal_conv1d`."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    width, channels = weight.shape[-1], x.shape[-1]
    outputs = []
    for g, is_reversed in enumerate(reverse):
        past = (x.flip(1) if is_reversed else x).transpose(1, 2).to(dtype)  # (B, E, L)
        taps = weight[g].to(dtype).unsqueeze(1)  # (E, 1, K)
        shift = None if bias is None else bias[g].to(dtype)
        y = F.conv1d(F.pad(past, (width - 1, 0)), taps, shift, groups=channels).transpose(1, 2)
        outputs.append(y.flip(1) if is_reversed else y)
    y = torch.stack(outputs)
    return (F.silu(y) if silu else y).to(x.dtype)
