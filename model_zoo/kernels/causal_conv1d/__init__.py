"""Depthwise causal convolution of several directions, with bias and SiLU in one operator.

Direction g of token t is silu(bias_g + sum over k of weight_gk x_{t-(K-1)+k}); a reversed direction
looks ahead instead, which equals flip, convolve, flip without the copies. Source: the short
convolution of Mamba, arXiv:2312.00752; both directions as in Vim, arXiv:2401.09417.
"""

import functools
import importlib.util
import math
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from model_zoo._errors import UnsupportedInputError
from model_zoo.kernels import forms
from model_zoo.kernels._llvm import instruction_set
from model_zoo.kernels.causal_conv1d import cpu, native
from model_zoo.kernels.exponentials import register_exponentials


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


def implementation(device: torch.device | str) -> str:
    """Name of the form that runs on `device`, for records: ``triton``, ``chunked``, or as below.

    On a CPU ``native (avx512)`` and the like, for machine code of that instruction set; in float64
    that is ``chunked`` all the same, and so are gradients. `forms` knows what has run.
    """
    kind = torch.device(device).type
    if kind == "cuda" and _has_triton():
        return "triton"
    level = instruction_set() if kind == "cpu" else None
    return "chunked" if level is None else f"native ({level.name})"


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def multiply_adds(y: Sequence[int], num_taps: int) -> int:
    """Multiply-adds of the taps, those that fall off an end included: G B L E K.

    Args:
        y: (G, B, L, E).
    """
    return math.prod(y) * num_taps


def exponentials(y: Sequence[int]) -> int:
    """Exponentials of the SiLU: G B L E; the backward pass takes them once more.

    Args:
        y: (G, B, L, E).
    """
    return math.prod(y)


# The operator. A Library costs a few microseconds a call less than `torch.library.custom_op`.
_OPERANDS: Final = "Tensor x, Tensor weight, Tensor? bias"
_OPTIONS: Final = "bool[] reverse, bool silu"
_LIBRARY: Final = torch.library.Library("model_zoo", "FRAGMENT")
_LIBRARY.define(f"causal_conv1d({_OPERANDS}, *, {_OPTIONS}) -> Tensor")
_LIBRARY.define(
    f"causal_conv1d_backward(Tensor grad, {_OPERANDS}, *, {_OPTIONS})"
    " -> (Tensor x, Tensor weight, Tensor bias)"
)


def _chunked(*operands: Any, **options: Any) -> Tensor:
    forms.note("causal_conv1d", "chunked")
    return cpu.forward(*operands, **options)


def _chunked_backward(*operands: Any, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    forms.note("causal_conv1d_backward", "chunked")
    return cpu.backward(*operands, **options)


def _on_cpu(x: Tensor, *operands: Any, **options: Any) -> Tensor:
    level = None if x.dtype == torch.float64 else instruction_set()
    if level is None:
        return _chunked(x, *operands, **options)
    forms.note("causal_conv1d", f"native ({level.name})")
    return native.forward(x, *operands, **options, level=level)


def _on_cuda(x: Tensor, *operands: Any, **options: Any) -> Tensor:
    if not _has_triton():
        return _chunked(x, *operands, **options)
    from model_zoo.kernels.causal_conv1d import triton

    forms.note("causal_conv1d", "triton")
    with torch.cuda.device_of(x):
        return triton.forward(x, *operands, **options)


def _on_cuda_backward(
    grad: Tensor, *operands: Any, **options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    if not _has_triton():
        return _chunked_backward(grad, *operands, **options)
    from model_zoo.kernels.causal_conv1d import triton

    forms.note("causal_conv1d_backward", "triton")
    with torch.cuda.device_of(grad):
        return triton.backward(grad, *operands, **options)


def _fake(x: Tensor, weight: Tensor, *_: Any, **options: Any) -> Tensor:
    return x.new_empty(weight.shape[0], *x.shape)


def _fake_backward(
    grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, **options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    grad_bias = x.new_empty(0) if bias is None else bias.new_empty(bias.shape)
    return x.new_empty(x.shape), weight.new_empty(weight.shape), grad_bias


def _save(
    ctx: Any, inputs: tuple[Any, ...], keyword_only_inputs: dict[str, Any], output: Tensor
) -> None:
    ctx.save_for_backward(*inputs)
    ctx.options = keyword_only_inputs


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    gradients = torch.ops.model_zoo.causal_conv1d_backward(grad, *ctx.saved_tensors, **ctx.options)
    return tuple(
        None if operand is None else gradient
        for operand, gradient in zip(ctx.saved_tensors, gradients, strict=True)
    )


def _refuse(ctx: Any, *gradients: Any) -> None:
    raise NotImplementedError("a causal convolution can be differentiated once only")


def _count(x: Sequence[int], weight: Sequence[int], *_: Any, **options: Any) -> int:
    return 2 * multiply_adds((weight[0], *x), weight[-1])


def _count_backward(
    grad: Sequence[int], x: Sequence[int], weight: Sequence[int], *_: Any, **options: Any
) -> int:
    """Recomputation, gradient of the input, gradient of the weight: once the forward each."""
    return 3 * _count(x, weight)


def _count_exponentials(
    x: Sequence[int], weight: Sequence[int], *_: Any, silu: bool, **options: Any
) -> int:
    return exponentials((weight[0], *x)) if silu else 0


def _count_backward_exponentials(grad: Sequence[int], *_: Any, silu: bool, **options: Any) -> int:
    return exponentials(grad) if silu else 0


_LIBRARY.impl("causal_conv1d", _on_cpu, "CPU")
_LIBRARY.impl("causal_conv1d_backward", _chunked_backward, "CPU")
_LIBRARY.impl("causal_conv1d", _on_cuda, "CUDA")
_LIBRARY.impl("causal_conv1d_backward", _on_cuda_backward, "CUDA")
torch.library.register_fake("model_zoo::causal_conv1d", _fake, lib=_LIBRARY)
torch.library.register_fake("model_zoo::causal_conv1d_backward", _fake_backward, lib=_LIBRARY)
torch.library.register_autograd(
    "model_zoo::causal_conv1d", _differentiate, setup_context=_save, lib=_LIBRARY
)
torch.library.register_autograd("model_zoo::causal_conv1d_backward", _refuse, lib=_LIBRARY)
register_flop_formula(torch.ops.model_zoo.causal_conv1d)(_count)
register_flop_formula(torch.ops.model_zoo.causal_conv1d_backward)(_count_backward)
register_exponentials(torch.ops.model_zoo.causal_conv1d)(_count_exponentials)
register_exponentials(torch.ops.model_zoo.causal_conv1d_backward)(_count_backward_exponentials)
