"""The matrix-valued Bi-WKV: RWKV-5's recurrence run over the tokens from both ends.

Per head, with a fixed decay w in (0, 1] and a bonus u for each of the D rows of the state:

    y_i = r_i (diag(u) k_i^T v_i + sum over j != i of diag(w)^(|i - j| - 1) k_j^T v_j)

which takes time linear in the tokens. The token itself is counted once. Source: the state of
RWKV-5, arXiv:2404.05892; both directions as in Vision-RWKV's kernel for RWKV-6 (OpenGVLab/
Vision-RWKV@0e0e38a, ``cuda_v6``), where the decay depends on the token instead.
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
from model_zoo.kernels.bi_wkv_matrix import cpu
from model_zoo.kernels.bi_wkv_matrix.operation_counts import (
    backward_multiply_adds,
    exponentials,
    multiply_adds,
)
from model_zoo.kernels.exponentials import register_exponentials

__all__ = [
    "backward_multiply_adds",
    "bi_wkv_matrix",
    "exponentials",
    "implementation",
    "multiply_adds",
]


def bi_wkv_matrix(r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor) -> Tensor:
    """Read the states: (B, N, H, D) -> (B, N, H, D) of `v`'s type.

    States are in float32 (float64 for float64 `v`). Differentiable once.

    Args:
        r: (B, N, H, D), and k and v too; any of them may be strided.
        log_decay: (H, D), log w above, not positive: the official ``-exp(decay)``.
        bonus: (H, D), u above.

    Raises:
        UnsupportedInputError: Shapes that do not go together.
    """
    tokens, per_head = tuple(v.shape), tuple(v.shape[2:])
    wanted = {"r": tokens, "k": tokens, "log_decay": per_head, "bonus": per_head}
    for (name, shape), operand in zip(wanted.items(), (r, k, log_decay, bonus), strict=True):
        if operand.shape != shape:
            raise UnsupportedInputError(
                f"{name} must be {shape} for v {tokens}, got: {tuple(operand.shape)}"
            )
    return torch.ops.model_zoo.bi_wkv_matrix(r, k, v, log_decay, bonus)


def implementation(device: torch.device | str) -> str:
    """Name of the form that runs on `device`, for records: ``triton`` or ``chunked``."""
    return "triton" if torch.device(device).type == "cuda" and _has_triton() else "chunked"


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


# The operator. A Library costs a few microseconds a call less than `torch.library.custom_op`.
_OPERANDS: Final = "Tensor r, Tensor k, Tensor v, Tensor log_decay, Tensor bonus"
_LIBRARY: Final = torch.library.Library("model_zoo", "FRAGMENT")
_LIBRARY.define(f"bi_wkv_matrix({_OPERANDS}) -> Tensor")
_LIBRARY.define(
    f"bi_wkv_matrix_backward(Tensor grad, {_OPERANDS})"
    " -> (Tensor r, Tensor k, Tensor v, Tensor log_decay, Tensor bonus)"
)


def _chunked(*operands: Tensor) -> Tensor:
    forms.note("bi_wkv_matrix", "chunked")
    return cpu.forward(*operands)


def _chunked_backward(*operands: Tensor) -> tuple[Tensor, ...]:
    forms.note("bi_wkv_matrix_backward", "chunked")
    return cpu.backward(*operands)


def _on_cuda(r: Tensor, *operands: Tensor) -> Tensor:
    if not _has_triton():
        return _chunked(r, *operands)
    from model_zoo.kernels.bi_wkv_matrix import triton

    forms.note("bi_wkv_matrix", "triton")
    with torch.cuda.device_of(r):
        return triton.forward(r, *operands)


def _on_cuda_backward(grad: Tensor, *operands: Tensor) -> tuple[Tensor, ...]:
    if not _has_triton():
        return _chunked_backward(grad, *operands)
    from model_zoo.kernels.bi_wkv_matrix import triton

    forms.note("bi_wkv_matrix_backward", "triton")
    with torch.cuda.device_of(grad):
        return triton.backward(grad, *operands)


def _fake(r: Tensor, k: Tensor, v: Tensor, *_: Tensor) -> Tensor:
    return v.new_empty(v.shape)


def _fake_backward(grad: Tensor, *operands: Tensor) -> tuple[Tensor, ...]:
    return tuple(operand.new_empty(operand.shape) for operand in operands)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
    gradients: tuple[Tensor, ...] = torch.ops.model_zoo.bi_wkv_matrix_backward(
        grad, *ctx.saved_tensors
    )
    return gradients


def _refuse(ctx: Any, *gradients: Any) -> None:
    raise NotImplementedError("a matrix-valued Bi-WKV can be differentiated once only")


def _count(r: Sequence[int], k: Sequence[int], v: Sequence[int], *_: Any, **options: Any) -> int:
    return 2 * multiply_adds(v)


def _count_backward(grad: Sequence[int], *_: Any, **options: Any) -> int:
    return 2 * backward_multiply_adds(grad)


def _count_exponentials(r: Sequence[int], *_: Any, **options: Any) -> int:
    """Of the forward pass or, by the shape of the incoming gradient, of the backward pass."""
    return exponentials(r)


_LIBRARY.impl("bi_wkv_matrix", _chunked, "CPU")
_LIBRARY.impl("bi_wkv_matrix_backward", _chunked_backward, "CPU")
_LIBRARY.impl("bi_wkv_matrix", _on_cuda, "CUDA")
_LIBRARY.impl("bi_wkv_matrix_backward", _on_cuda_backward, "CUDA")
torch.library.register_fake("model_zoo::bi_wkv_matrix", _fake, lib=_LIBRARY)
torch.library.register_fake("model_zoo::bi_wkv_matrix_backward", _fake_backward, lib=_LIBRARY)
torch.library.register_autograd(
    "model_zoo::bi_wkv_matrix", _differentiate, setup_context=_save, lib=_LIBRARY
)
torch.library.register_autograd("model_zoo::bi_wkv_matrix_backward", _refuse, lib=_LIBRARY)
register_flop_formula(torch.ops.model_zoo.bi_wkv_matrix)(_count)
register_flop_formula(torch.ops.model_zoo.bi_wkv_matrix_backward)(_count_backward)
register_exponentials(torch.ops.model_zoo.bi_wkv_matrix)(_count_exponentials)
register_exponentials(torch.ops.model_zoo.bi_wkv_matrix_backward)(_count_exponentials)
