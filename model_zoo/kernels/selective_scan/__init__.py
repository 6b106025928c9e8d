"""Selective scan of several directions, with bias, softplus, skip and gate in one operator.

Per direction and channel, with A negative and x = softplus(delta + delta_bias):

    state_t = exp(x_t A) state_{t-1} + x_t B_t u_t        y_t = <C_t, state_t> + D u_t

and the result is silu(z) times the sum of y over the directions. A reversed direction runs from the
last token to the first; its inputs and outputs stay in the order of the tokens. Source: Mamba,
arXiv:2312.00752; two directions as in Vim, arXiv:2401.09417, and VideoMamba, arXiv:2403.06977.
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
from model_zoo.kernels._llvm import instruction_set
from model_zoo.kernels.exponentials import register_exponentials
from model_zoo.kernels.selective_scan import cpu, cpu_backward, native, native_backward
from model_zoo.kernels.selective_scan.inputs import ScanInputs
from model_zoo.kernels.selective_scan.operation_counts import (
    backward_multiply_adds,
    exponentials,
    multiply_adds,
    videomamba_printed,
    vmamba_flops,
)

__all__ = [
    "backward_multiply_adds",
    "exponentials",
    "implementation",
    "multiply_adds",
    "selective_scan",
    "videomamba_printed",
    "vmamba_flops",
]

CHECKPOINT_STEPS: Final = 64  # one state in so many is kept for the backward pass


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = True,
    reverse: Sequence[bool],
) -> Tensor:
    """Scan every direction, sum, gate: (G, B, L, E) -> (B, L, E) of `u`'s type.

    The state is kept in float32 (float64 for float64 `u`); between directions the sum is rounded to
    `u`'s type, as official code does. Any operand may be strided. Differentiable once.

    Args:
        u: (G, B, L, E), and delta too.
        A: (G, E, N), negative: the official ``-exp(A_log)``.
        B: (G, B, L, N), and C too.
        D: (G, E), and delta_bias too.
        z: (B, L, E), the gate before its SiLU.
        delta_softplus: False takes delta + delta_bias as the step size itself.
        reverse: Of each direction, whether it runs from the last token to the first.

    Raises:
        UnsupportedInputError: Shapes that do not go together.
    """
    operands = (u, delta, A, B, C, D, z, delta_bias)
    _require_shapes(ScanInputs(*operands, delta_softplus=delta_softplus, reverse=reverse))
    needs_grad = torch.is_grad_enabled() and any(
        x is not None and x.requires_grad for x in operands
    )
    y, _ = torch.ops.model_zoo.selective_scan(
        *operands,
        delta_softplus=delta_softplus,
        reverse=reverse,
        checkpoint_steps=CHECKPOINT_STEPS if needs_grad else 0,
    )
    return y


def implementation(device: torch.device | str) -> str:
    """Name of the form that runs on `device`, for records: ``triton``, ``chunked``, or as below.

    On a CPU ``native (avx512)`` and the like, for machine code of that instruction set; in float64
    that is ``chunked`` all the same. `forms` knows what has run.
    """
    kind = torch.device(device).type
    if kind == "cuda" and _has_triton():
        return "triton"
    level = instruction_set() if kind == "cpu" else None
    return "chunked" if level is None else f"native ({level.name})"


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _require_shapes(inputs: ScanInputs) -> None:
    num_directions, batch, length, channels = inputs.u.shape
    per_state = (num_directions, batch, length, inputs.num_states)
    wanted = {
        "delta": tuple(inputs.u.shape),
        "A": (num_directions, channels, inputs.num_states),
        "B": per_state,
        "C": per_state,
        "D": (num_directions, channels),
        "z": (batch, length, channels),
        "delta_bias": (num_directions, channels),
    }
    for name, shape in wanted.items():
        operand = getattr(inputs, name)
        if operand is not None and operand.shape != shape:
            raise UnsupportedInputError(
                f"{name} must be {shape} for u {tuple(inputs.u.shape)}, got: {tuple(operand.shape)}"
            )
    if len(inputs.reverse) != num_directions:
        raise UnsupportedInputError(
            f"reverse must hold {num_directions} flags, one a direction: {list(inputs.reverse)}"
        )


# The operator. A Library costs a few microseconds a call less than `torch.library.custom_op`.
_OPERANDS: Final = (
    "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor? D, Tensor? z, Tensor? delta_bias"
)
_OPTIONS: Final = "bool delta_softplus, bool[] reverse, int checkpoint_steps"
_LIBRARY: Final = torch.library.Library("model_zoo", "FRAGMENT")
_LIBRARY.define(f"selective_scan({_OPERANDS}, *, {_OPTIONS}) -> (Tensor y, Tensor checkpoints)")
_LIBRARY.define(
    f"selective_scan_backward(Tensor grad, {_OPERANDS}, Tensor checkpoints, *, {_OPTIONS})"
    " -> (Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor D, Tensor z, Tensor bias)"
)


def _chunked(*operands: Any, checkpoint_steps: int, **options: Any) -> tuple[Tensor, Tensor]:
    forms.note("selective_scan", "chunked")
    return cpu.forward(ScanInputs(*operands, **options), checkpoint_steps=checkpoint_steps)


def _on_cpu(*operands: Any, checkpoint_steps: int, **options: Any) -> tuple[Tensor, Tensor]:
    inputs = ScanInputs(*operands, **options)
    level = None if inputs.dtype == torch.float64 else instruction_set()
    if level is None:
        return _chunked(*operands, checkpoint_steps=checkpoint_steps, **options)
    forms.note("selective_scan", f"native ({level.name})")
    return native.forward(inputs, checkpoint_steps=checkpoint_steps, level=level)


def _chunked_backward(
    grad: Tensor, *operands: Any, checkpoint_steps: int, **options: Any
) -> tuple[Tensor, ...]:
    forms.note("selective_scan_backward", "chunked")
    *inputs, checkpoints = operands
    return cpu_backward.backward(
        grad, ScanInputs(*inputs, **options), checkpoints, checkpoint_steps=checkpoint_steps
    )


def _on_cpu_backward(
    grad: Tensor, *operands: Any, checkpoint_steps: int, **options: Any
) -> tuple[Tensor, ...]:
    *inputs, checkpoints = operands
    scan = ScanInputs(*inputs, **options)
    level = None if scan.dtype == torch.float64 else instruction_set()
    if level is None or not native_backward.is_possible(checkpoint_steps):
        return _chunked_backward(grad, *operands, checkpoint_steps=checkpoint_steps, **options)
    forms.note("selective_scan_backward", f"native ({level.name})")
    return native_backward.backward(grad, scan, checkpoints, level=level)


def _on_cuda(*operands: Any, checkpoint_steps: int, **options: Any) -> tuple[Tensor, Tensor]:
    if not _has_triton():
        return _chunked(*operands, checkpoint_steps=checkpoint_steps, **options)
    from model_zoo.kernels.selective_scan import triton

    forms.note("selective_scan", "triton")
    with torch.cuda.device_of(operands[0]):
        return triton.forward(ScanInputs(*operands, **options), checkpoint_steps=checkpoint_steps)


def _on_cuda_backward(
    grad: Tensor, *operands: Any, checkpoint_steps: int, **options: Any
) -> tuple[Tensor, ...]:
    if not _has_triton():
        return _chunked_backward(grad, *operands, checkpoint_steps=checkpoint_steps, **options)
    from model_zoo.kernels.selective_scan import triton_backward

    forms.note("selective_scan_backward", "triton")
    *inputs, checkpoints = operands
    with torch.cuda.device_of(grad):
        return triton_backward.backward(
            grad, ScanInputs(*inputs, **options), checkpoints, checkpoint_steps=checkpoint_steps
        )


def _fake(*operands: Any, checkpoint_steps: int, **options: Any) -> tuple[Tensor, Tensor]:
    inputs = ScanInputs(*operands, **options)
    return inputs.u.new_empty(inputs.u.shape[1:]), inputs.empty_checkpoints(checkpoint_steps)


def _fake_backward(grad: Tensor, *operands: Any, **options: Any) -> tuple[Tensor, ...]:
    return tuple(grad.new_empty(0) if x is None else x.new_empty(x.shape) for x in operands[:-1])


def _save(
    ctx: Any, inputs: tuple[Any, ...], keyword_only_inputs: dict[str, Any], output: Any
) -> None:
    if keyword_only_inputs["checkpoint_steps"] < 1:
        raise RuntimeError("checkpoint_steps must be at least 1 for a scan to be differentiated")
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(*inputs, output[1])
    ctx.options = keyword_only_inputs


def _differentiate(ctx: Any, grad: Tensor | None, _: None) -> tuple[Tensor | None, ...]:
    *operands, checkpoints = ctx.saved_tensors
    if grad is None:
        return (None,) * len(operands)
    gradients = torch.ops.model_zoo.selective_scan_backward(
        grad, *operands, checkpoints, **ctx.options
    )
    return tuple(
        None if operand is None else gradient
        for operand, gradient in zip(operands, gradients, strict=True)
    )


def _refuse(ctx: Any, *gradients: Any) -> None:
    raise NotImplementedError("a selective scan can be differentiated once only")


def _count(
    u: Sequence[int],
    delta: Sequence[int],
    A: Sequence[int],
    B: Sequence[int],
    C: Sequence[int],
    D: Sequence[int] | None,
    *_: Any,
    **options: Any,
) -> int:
    return 2 * multiply_adds(u, A[-1], has_skip=D is not None)


def _count_backward(
    grad: Sequence[int],
    u: Sequence[int],
    delta: Sequence[int],
    A: Sequence[int],
    B: Sequence[int],
    C: Sequence[int],
    D: Sequence[int] | None,
    z: Sequence[int] | None,
    *_: Any,
    **options: Any,
) -> int:
    return 2 * backward_multiply_adds(u, A[-1], has_skip=D is not None, has_gate=z is not None)


def _count_exponentials(
    u: Sequence[int], delta: Sequence[int], A: Sequence[int], *_: Any, **options: Any
) -> int:
    return exponentials(u, A[-1])


def _count_backward_exponentials(grad: Sequence[int], *operands: Any, **options: Any) -> int:
    return _count_exponentials(*operands)


_LIBRARY.impl("selective_scan", _on_cpu, "CPU")
_LIBRARY.impl("selective_scan_backward", _on_cpu_backward, "CPU")
_LIBRARY.impl("selective_scan", _on_cuda, "CUDA")
_LIBRARY.impl("selective_scan_backward", _on_cuda_backward, "CUDA")
torch.library.register_fake("model_zoo::selective_scan", _fake, lib=_LIBRARY)
torch.library.register_fake("model_zoo::selective_scan_backward", _fake_backward, lib=_LIBRARY)
torch.library.register_autograd(
    "model_zoo::selective_scan", _differentiate, setup_context=_save, lib=_LIBRARY
)
torch.library.register_autograd("model_zoo::selective_scan_backward", _refuse, lib=_LIBRARY)
register_flop_formula(torch.ops.model_zoo.selective_scan)(_count)
register_flop_formula(torch.ops.model_zoo.selective_scan_backward)(_count_backward)
register_exponentials(torch.ops.model_zoo.selective_scan)(_count_exponentials)
register_exponentials(torch.ops.model_zoo.selective_scan_backward)(_count_backward_exponentials)
