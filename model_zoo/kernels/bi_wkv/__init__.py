"""Bi-WKV: an average of values over all tokens, weighted by key and by distance, a channel alone.

    y_t = (sum over i != t of exp(k_i - (|t - i| - 1) w) v_i + exp(k_t + u) v_t) / (the same, v = 1)

with w the decay a token and u the bonus of the token itself, one each a channel. w may be negative:
far tokens then count more. Source: Vision-RWKV, arXiv:2403.02308, equation 4, where w and u are the
learned parameters divided by the number of tokens. The official CUDA kernels differ from it a
little: across their internal chunks of tokens they decay by |t - i| instead of |t - i| - 1.

Safe from overflow and underflow in float32 while T |w| and the bonus stay below about 80.
"""

import functools
import importlib.util
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from model_zoo._errors import UnsupportedInputError
from model_zoo.kernels import forms
from model_zoo.kernels.bi_wkv import cpu
from model_zoo.kernels.bi_wkv.operation_counts import (
    backward_multiply_adds,
    exponentials,
    multiply_adds,
    vision_rwkv_flops,
)
from model_zoo.kernels.exponentials import register_exponentials

__all__ = [
    "backward_multiply_adds",
    "bi_wkv",
    "exponentials",
    "implementation",
    "multiply_adds",
    "vision_rwkv_flops",
]


def bi_wkv(k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor) -> Tensor:
    """Average the values: (B, T, C) -> (B, T, C) of `v`'s type.

    Sums are in float32 (float64 for float64 `v`). Differentiable once.

    Args:
        k: (B, T, C), and v too; either may be strided.
        decay: (C,), w above.
        bonus: (C,), u above.

    Raises:
        UnsupportedInputError: Shapes that do not go together.
    """
    wanted = {"k": tuple(v.shape), "decay": (v.shape[-1],), "bonus": (v.shape[-1],)}
    for (name, shape), operand in zip(wanted.items(), (k, decay, bonus), strict=True):
        if operand.shape != shape:
            raise UnsupportedInputError(
                f"{name} must be {shape} for v {tuple(v.shape)}, got: {tuple(operand.shape)}"
            )
    return torch.ops.model_zoo.bi_wkv(k, v, decay, bonus)


def implementation(device: torch.device | str) -> str:
    """Name of the form that runs on `device`, for records: ``triton`` or ``chunked``."""
    return "triton" if torch.device(device).type == "cuda" and _has_triton() else "chunked"


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


# The operator. A Library costs a few microseconds a call less than `torch.library.custom_op`.
_OPERANDS: Final = "Tensor k, Tensor v, Tensor decay, Tensor bonus"
_LIBRARY: Final = torch.library.Library("model_zoo", "FRAGMENT")
_LIBRARY.define(f"bi_wkv({_OPERANDS}) -> Tensor")
_LIBRARY.define(
    f"bi_wkv_backward(Tensor grad, {_OPERANDS}) -> (Tensor k, Tensor v, Tensor decay, Tensor bonus)"
)


def _chunked(*operands: Tensor) -> Tensor:
    forms.note("bi_wkv", "chunked")
    return cpu.forward(*operands)


def _chunked_backward(*operands: Tensor) -> tuple[Tensor, ...]:
    forms.note("bi_wkv_backward", "chunked")
    return cpu.backward(*operands)


def _on_cuda(k: Tensor, *operands: Tensor) -> Tensor:
    if not _has_triton():
        return _chunked(k, *operands)
    from model_zoo.kernels.bi_wkv import triton

    forms.note("bi_wkv", "triton")
    with torch.cuda.device_of(k):
        return triton.forward(k, *operands)


def _on_cuda_backward(grad: Tensor, *operands: Tensor) -> tuple[Tensor, ...]:
    if not _has_triton():
        return _chunked_backward(grad, *operands)
    from model_zoo.kernels.bi_wkv import triton

    forms.note("bi_wkv_backward", "triton")
    with torch.cuda.device_of(grad):
        return triton.backward(grad, *operands)


def _fake(k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor) -> Tensor:
    return v.new_empty(v.shape)


def _fake_backward(grad: Tensor, *operands: Tensor) -> tuple[Tensor, ...]:
    return tuple(operand.new_empty(operand.shape) for operand in operands)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
    gradients: tuple[Tensor, ...] = torch.ops.model_zoo.bi_wkv_backward(grad, *ctx.saved_tensors)
    return gradients


def _refuse(ctx: Any, *gradients: Any) -> None:
    raise NotImplementedError("Bi-WKV can be differentiated once only")


def _count(k: Sequence[int], v: Sequence[int], *_: Any, **options: Any) -> int:
    return 2 * multiply_adds(v)


def _count_backward(
    grad: Sequence[int], k: Sequence[int], v: Sequence[int], *_: Any, **options: Any
) -> int:
    return 2 * backward_multiply_adds(v)


def _count_exponentials(k: Sequence[int], *_: Any, **options: Any) -> int:
    """Of the forward pass or, by the shape of the incoming gradient, of the backward pass."""
    return exponentials(k)


_LIBRARY.impl("bi_wkv", _chunked, "CPU")
_LIBRARY.impl("bi_wkv_backward", _chunked_backward, "CPU")
_LIBRARY.impl("bi_wkv", _on_cuda, "CUDA")
_LIBRARY.impl("bi_wkv_backward", _on_cuda_backward, "CUDA")
torch.library.register_fake("model_zoo::bi_wkv", _fake, lib=_LIBRARY)
torch.library.register_fake("model_zoo::bi_wkv_backward", _fake_backward, lib=_LIBRARY)
torch.library.register_autograd(
    "model_zoo::bi_wkv", _differentiate, setup_context=_save, lib=_LIBRARY
)
torch.library.register_autograd("model_zoo::bi_wkv_backward", _refuse, lib=_LIBRARY)
register_flop_formula(torch.ops.model_zoo.bi_wkv)(_count)
register_flop_formula(torch.ops.model_zoo.bi_wkv_backward)(_count_backward)
register_exponentials(torch.ops.model_zoo.bi_wkv)(_count_exponentials)
register_exponentials(torch.ops.model_zoo.bi_wkv_backward)(_count_exponentials)
