"""Addition of a branch to the residual and the RMS norm of the sum, in one operator.

With the sum x = residual + scale * branch, rows of D channels:

    normed = weight * x / sqrt(mean(x ** 2) + eps)

The sum is kept wide whatever the precision of the branch, as the official Mamba code does with
``residual_in_fp32``; the norm is taken of the wide sum and rounded once. Source: arXiv:1910.07467;
fused as in state-spaces/mamba, ``mamba_ssm/ops/triton/layer_norm.py``.
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
from model_zoo.kernels.add_rms_norm import cpu


def add_rms_norm(
    branch: Tensor,
    residual: Tensor | None,
    weight: Tensor,
    *,
    sample_scale: Tensor | None = None,
    scale: float = 1.0,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """Normed sum (B, ..., D) in `branch`'s type, and the sum in float32 (float64 for float64).

    Differentiable once.

    Args:
        branch: (B, ..., D), and residual too; None stands for zeros. Either may be strided.
        weight: (D,).
        sample_scale: (B,), a factor of each sample's branch: stochastic depth.
        scale: A factor of the whole branch.

    Raises:
        UnsupportedInputError: Shapes that do not go together.
    """
    wanted = {
        "residual": tuple(branch.shape),
        "weight": tuple(branch.shape[-1:]),
        "sample_scale": tuple(branch.shape[:1]),
    }
    operands = (residual, weight, sample_scale)
    for (name, shape), operand in zip(wanted.items(), operands, strict=True):
        if operand is not None and operand.shape != shape:
            raise UnsupportedInputError(
                f"{name} must be {shape} for branch {tuple(branch.shape)}, "
                f"got: {tuple(operand.shape)}"
            )
    normed, total, _ = torch.ops.model_zoo.add_rms_norm(
        branch, residual, weight, sample_scale, scale=scale, eps=eps
    )
    return normed, total


def implementation(device: torch.device | str) -> str:
    """Name of the form that runs on `device`, for records: ``triton`` or ``torch``."""
    return "triton" if torch.device(device).type == "cuda" and _has_triton() else "torch"


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


# The operator. A Library costs a few microseconds a call less than `torch.library.custom_op`.
_LIBRARY: Final = torch.library.Library("model_zoo", "FRAGMENT")
_LIBRARY.define(
    "add_rms_norm(Tensor branch, Tensor? residual, Tensor weight, Tensor? sample_scale, *,"
    " float scale, float eps) -> (Tensor normed, Tensor total, Tensor inverse_rms)"
)
_LIBRARY.define(
    "add_rms_norm_backward(Tensor grad_normed, Tensor? grad_total, Tensor total,"
    " Tensor inverse_rms, Tensor weight, Tensor? sample_scale, *, float scale)"
    " -> (Tensor branch, Tensor residual, Tensor weight)"
)


def _on_cuda(branch: Tensor, *operands: Any, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    if not _has_triton():
        return cpu.forward(branch, *operands, **options)
    from model_zoo.kernels.add_rms_norm import triton

    forms.note("add_rms_norm", "triton")
    with torch.cuda.device_of(branch):
        return triton.forward(branch, *operands, **options)


def _on_cuda_backward(
    grad_normed: Tensor, *operands: Any, **options: Any
) -> tuple[Tensor, Tensor, Tensor]:
    if not _has_triton():
        return cpu.backward(grad_normed, *operands, **options)
    from model_zoo.kernels.add_rms_norm import triton

    forms.note("add_rms_norm_backward", "triton")
    with torch.cuda.device_of(grad_normed):
        return triton.backward(grad_normed, *operands, **options)


def _fake(branch: Tensor, *_: Any, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    wide = cpu.accumulator_dtype(branch.dtype)
    return (
        branch.new_empty(branch.shape),
        branch.new_empty(branch.shape, dtype=wide),
        branch.new_empty(branch.shape[:-1], dtype=wide),
    )


def _fake_backward(
    grad_normed: Tensor,
    grad_total: Tensor | None,
    total: Tensor,
    inverse_rms: Tensor,
    weight: Tensor,
    sample_scale: Tensor | None,
    *,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    is_same = cpu.is_gradient_shared(grad_normed.dtype, total.dtype, sample_scale, scale)
    return (
        grad_normed.new_empty(0 if is_same else total.shape),
        total.new_empty(total.shape),
        weight.new_empty(weight.shape),
    )


def _save(
    ctx: Any, inputs: tuple[Any, ...], keyword_only_inputs: dict[str, Any], output: Any
) -> None:
    _, residual, weight, sample_scale = inputs
    _, total, inverse_rms = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(inverse_rms)
    ctx.save_for_backward(total, inverse_rms, weight, sample_scale)
    ctx.has_residual = residual is not None
    ctx.scale = keyword_only_inputs["scale"]
    ctx.dtype = output[0].dtype


def _differentiate(
    ctx: Any, grad_normed: Tensor | None, grad_total: Tensor | None, _: None
) -> tuple[Tensor | None, ...]:
    total, inverse_rms, weight, sample_scale = ctx.saved_tensors
    if grad_normed is None:
        grad_normed = torch.zeros_like(total, dtype=ctx.dtype)
    of_branch, of_sum, of_weight = torch.ops.model_zoo.add_rms_norm_backward(
        grad_normed, grad_total, total, inverse_rms, weight, sample_scale, scale=ctx.scale
    )
    of_branch = of_branch if of_branch.numel() else of_sum.view_as(of_sum)
    return of_branch, of_sum if ctx.has_residual else None, of_weight, None


def _refuse(ctx: Any, *gradients: Any) -> None:
    raise NotImplementedError("an added RMS norm can be differentiated once only")


def _count(*_: Sequence[int] | None, **options: Any) -> int:
    """None: a norm holds no multiply-adds by the convention of every counter."""
    return 0


_LIBRARY.impl("add_rms_norm", cpu.forward, "CPU")
_LIBRARY.impl("add_rms_norm_backward", cpu.backward, "CPU")
_LIBRARY.impl("add_rms_norm", _on_cuda, "CUDA")
_LIBRARY.impl("add_rms_norm_backward", _on_cuda_backward, "CUDA")
torch.library.register_fake("model_zoo::add_rms_norm", _fake, lib=_LIBRARY)
torch.library.register_fake("model_zoo::add_rms_norm_backward", _fake_backward, lib=_LIBRARY)
torch.library.register_autograd(
    "model_zoo::add_rms_norm", _differentiate, setup_context=_save, lib=_LIBRARY
)
torch.library.register_autograd("model_zoo::add_rms_norm_backward", _refuse, lib=_LIBRARY)
register_flop_formula(torch.ops.model_zoo.add_rms_norm)(_count)
register_flop_formula(torch.ops.model_zoo.add_rms_norm_backward)(_count)
