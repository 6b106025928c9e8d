"""The zoo's other kernels and their rivals.

The floor of a kernel that is bound by memory reads and writes its operands once; that of attention
does as many multiply-adds in one large matrix product. The convolution's result is the largest of
all: see `selective_scan` on memory that is new.
"""

from collections.abc import Callable, Mapping
from typing import Final

import torch
from torch import Tensor

from model_zoo.kernels import bi_wkv, bi_wkv_matrix, causal_conv1d
from model_zoo.kernels.bi_wkv import cpu as bi_wkv_cpu
from model_zoo.kernels.bi_wkv.reference import bi_wkv as bi_wkv_reference
from model_zoo.kernels.bi_wkv_matrix import cpu as matrix_cpu
from model_zoo.kernels.bi_wkv_matrix.reference import bi_wkv_matrix as matrix_reference
from model_zoo.kernels.causal_conv1d import cpu as conv_cpu
from model_zoo.kernels.causal_conv1d.reference import causal_conv1d as conv_reference
from model_zoo.layers.attention import attend
from vbench.measure.bench.interleave import Form

NUM_TAPS: Final = 4
REVERSE: Final = (False, True)
MATMUL_SIDE: Final = 1024


def conv_forms(sizes: Mapping[str, int], device: torch.device) -> dict[str, Form]:
    """The causal convolution of both directions of a block of VideoMamba-Ti."""
    normal = _drawing(device)
    batch, length, channels = sizes["batch"], sizes["num_tokens"], sizes["num_channels"]
    x = normal(batch, length, channels)
    weight, bias = normal(len(REVERSE), channels, NUM_TAPS), normal(len(REVERSE), channels)
    copies = x.new_empty(len(REVERSE), *x.shape)

    def chunked() -> Tensor:
        return conv_cpu.forward(x, weight, bias, reverse=REVERSE, silu=True)

    def ours() -> Tensor:
        return causal_conv1d.causal_conv1d(x, weight, bias, reverse=REVERSE)

    plain = Form(role="reference", call=lambda: conv_reference(x, weight, bias, reverse=REVERSE))
    return {
        "torch conv1d and flips": plain,
        "chunked": Form(role="ours", call=chunked),
        causal_conv1d.implementation(device): Form(role="ours", call=ours),
        "traffic": Form(role="floor", call=lambda: copies.copy_(x)),
        "traffic to new memory": Form(
            role="yardstick", call=lambda: torch.empty_like(copies).copy_(x)
        ),
    }


def attention_forms(sizes: Mapping[str, int], device: torch.device) -> dict[str, Form]:
    """Joint attention of TimeSformer-Ti: three heads of 64 channels."""
    normal = _drawing(device)
    batch, length = sizes["batch"], sizes["num_tokens"]
    heads, channels = sizes["num_heads"], sizes["num_channels"]
    q, k, v = (normal(batch, heads, length, channels) for _ in range(3))
    macs = 2 * batch * heads * length**2 * channels
    return {
        "eager": Form(role="reference", call=lambda: attend(q, k, v, backend="eager")),
        "sdpa": Form(role="ours", call=lambda: attend(q, k, v, backend="sdpa")),
        "matmul": Form(role="floor", call=_matmul(macs, device)),
    }


def bi_wkv_forms(sizes: Mapping[str, int], device: torch.device) -> dict[str, Form]:
    """Vision-RWKV-Ti's average over all tokens; the reference forms all pairs of them."""
    normal = _drawing(device)
    batch, length, channels = sizes["batch"], sizes["num_tokens"], sizes["num_channels"]
    k, v = normal(batch, length, channels), normal(batch, length, channels)
    decay, bonus = normal(channels).abs() / length, normal(channels) / length
    result = torch.empty_like(v)
    return {
        "all pairs": Form(role="reference", call=lambda: bi_wkv_reference(k, v, decay, bonus)),
        "chunked": Form(role="ours", call=lambda: bi_wkv_cpu.forward(k, v, decay, bonus)),
        bi_wkv.implementation(device): Form(
            role="ours", call=lambda: bi_wkv.bi_wkv(k, v, decay, bonus)
        ),
        "traffic": Form(role="floor", call=lambda: torch.mul(k, v, out=result)),
    }


def bi_wkv_matrix_forms(sizes: Mapping[str, int], device: torch.device) -> dict[str, Form]:
    """The states of a block of RWKV-5 run from both ends; the reference goes token by token."""
    normal = _drawing(device)
    per_head = (sizes["num_heads"], sizes["num_channels"])
    r, k, v = (normal(sizes["batch"], sizes["num_tokens"], *per_head) for _ in range(3))
    operands = (r, k, v, -normal(*per_head).abs(), normal(*per_head))
    result = torch.empty_like(v)
    macs = bi_wkv_matrix.multiply_adds(v.shape)
    return {
        "token by token": Form(role="reference", call=lambda: matrix_reference(*operands)),
        "chunked": Form(role="ours", call=lambda: matrix_cpu.forward(*operands)),
        bi_wkv_matrix.implementation(device): Form(
            role="ours", call=lambda: bi_wkv_matrix.bi_wkv_matrix(*operands)
        ),
        "traffic": Form(role="floor", call=lambda: torch.addcmul(r, k, v, out=result)),
        "matmul": Form(role="yardstick", call=_matmul(macs, device)),
    }


def _matmul(num_multiply_adds: int, device: torch.device) -> Callable[[], Tensor]:
    """One large product of about so many."""
    normal = _drawing(device)
    left = normal(max(num_multiply_adds // MATMUL_SIDE**2, 1), MATMUL_SIDE)
    right = normal(MATMUL_SIDE, MATMUL_SIDE)
    result = torch.empty_like(left)
    return lambda: torch.mm(left, right, out=result)


def _drawing(device: torch.device) -> Callable[..., Tensor]:
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(device)

    return normal
