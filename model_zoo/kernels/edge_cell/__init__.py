"""One step of LCR's recurrent cell, from what its gates are made of, in one operator.

With the gated channel mix added to what was attended to, A = a + sigmoid(r) v, and the edge
embedding e as the gate of the memory:

    cell' = cell + e (tanh(A) + cell)        hidden = tanh(cell') sigmoid(A)

Elementwise: nine launches a frame of every unit otherwise, and as many arrays kept for the backward
pass, which here keeps its inputs alone. Source: arXiv:2411.05636, see `model_zoo.lcr`.
"""

import functools
import importlib.util
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from model_zoo._errors import UnsupportedInputError
from model_zoo.kernels.edge_cell import cpu


def edge_cell(
    attended: Tensor, receptance: Tensor, value: Tensor, edges: Tensor, cell: Tensor
) -> tuple[Tensor, Tensor]:
    """Hidden and cell state after a frame, each (B, N, D) of `cell`'s type.

    Computed in float32 (float64 for a float64 cell). Differentiable once.

    Args:
        attended: (B, N, D), and all others too; any of them may be strided.
        receptance: Before its sigmoid.

    Raises:
        UnsupportedInputError: Shapes that do not go together.
    """
    named = {"attended": attended, "receptance": receptance, "value": value, "edges": edges}
    for name, operand in named.items():
        if operand.shape != cell.shape:
            raise UnsupportedInputError(
                f"{name} must be {tuple(cell.shape)}, as cell is, got: {tuple(operand.shape)}"
            )
    hidden, cell = torch.ops.model_zoo.edge_cell(attended, receptance, value, edges, cell)
    return hidden, cell


def implementation(device: torch.device | str) -> str:
    """Name of the form that runs on `device`, for records: ``triton`` or ``torch``."""
    return "triton" if torch.device(device).type == "cuda" and _has_triton() else "torch"


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


# The operator. A Library costs a few microseconds a call less than `torch.library.custom_op`.
_OPERANDS: Final = "Tensor attended, Tensor receptance, Tensor value, Tensor edges, Tensor cell"
_LIBRARY: Final = torch.library.Library("model_zoo", "FRAGMENT")
_LIBRARY.define(f"edge_cell({_OPERANDS}) -> (Tensor hidden, Tensor next_cell)")
_LIBRARY.define(
    f"edge_cell_backward(Tensor? grad_hidden, Tensor? grad_cell, {_OPERANDS})"
    " -> (Tensor attended, Tensor receptance, Tensor value, Tensor edges, Tensor cell)"
)


def _on_cuda(attended: Tensor, *operands: Tensor) -> tuple[Tensor, Tensor]:
    if not _has_triton():
        return cpu.forward(attended, *operands)
    from model_zoo.kernels.edge_cell import triton

    with torch.cuda.device_of(attended):
        return triton.forward(attended, *operands)


def _on_cuda_backward(
    grad_hidden: Tensor | None, grad_cell: Tensor | None, attended: Tensor, *operands: Tensor
) -> tuple[Tensor, ...]:
    if not _has_triton():
        return cpu.backward(grad_hidden, grad_cell, attended, *operands)
    from model_zoo.kernels.edge_cell import triton

    with torch.cuda.device_of(attended):
        return triton.backward(grad_hidden, grad_cell, attended, *operands)


def _fake(*operands: Tensor) -> tuple[Tensor, Tensor]:
    cell = operands[-1]
    return cell.new_empty(cell.shape), cell.new_empty(cell.shape)


def _fake_backward(
    grad_hidden: Tensor | None, grad_cell: Tensor | None, *operands: Tensor
) -> tuple[Tensor, ...]:
    return tuple(x.new_empty(x.shape) for x in operands)


def _save(ctx: Any, inputs: tuple[Tensor, ...], output: Any) -> None:
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*inputs)


def _differentiate(
    ctx: Any, grad_hidden: Tensor | None, grad_cell: Tensor | None
) -> tuple[Tensor | None, ...]:
    if grad_hidden is None and grad_cell is None:
        return (None,) * len(ctx.saved_tensors)
    gradients: tuple[Tensor, ...] = torch.ops.model_zoo.edge_cell_backward(
        grad_hidden, grad_cell, *ctx.saved_tensors
    )
    return gradients


def _refuse(ctx: Any, *gradients: Any) -> None:
    raise NotImplementedError("an edge cell can be differentiated once only")


def _count(*_: Any, **options: Any) -> int:
    """None: elementwise arithmetic is not counted by the convention of every counter."""
    return 0


_LIBRARY.impl("edge_cell", cpu.forward, "CPU")
_LIBRARY.impl("edge_cell_backward", cpu.backward, "CPU")
_LIBRARY.impl("edge_cell", _on_cuda, "CUDA")
_LIBRARY.impl("edge_cell_backward", _on_cuda_backward, "CUDA")
torch.library.register_fake("model_zoo::edge_cell", _fake, lib=_LIBRARY)
torch.library.register_fake("model_zoo::edge_cell_backward", _fake_backward, lib=_LIBRARY)
torch.library.register_autograd(
    "model_zoo::edge_cell", _differentiate, setup_context=_save, lib=_LIBRARY
)
torch.library.register_autograd("model_zoo::edge_cell_backward", _refuse, lib=_LIBRARY)
register_flop_formula(torch.ops.model_zoo.edge_cell)(_count)
register_flop_formula(torch.ops.model_zoo.edge_cell_backward)(_count)
