"""The parameters of a Mamba mixer's two directions side by side, as its kernels take them.

Official checkpoints keep each direction's parameters apart, while one convolution, one product and
one scan do the work of both. What has to be stacked, cast and turned into decay rates for that is
small, but as torch's operators it would be a dozen launches a block: here it is one.

Legend: G = 2 directions, E channels, K taps, R rank of the step size, N states.
"""

import functools
import importlib.util
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from model_zoo.kernels import forms
from model_zoo.kernels.pack_directions import cpu
from model_zoo.kernels.pack_directions.operands import Direction, Packed, empty

__all__ = ["Direction", "Packed", "implementation", "pack_directions", "unpack_gradients"]


def pack_directions(forward: Direction, backward: Direction, dtype: torch.dtype) -> Packed:
    """Bring the parameters together for tokens of type `dtype`.

    Not differentiable: `unpack_gradients` goes the other way.
    """
    return Packed(*torch.ops.model_zoo.pack_directions(list(forward), list(backward), dtype))


def unpack_gradients(
    gradients: Packed, rates: Tensor, like: Direction
) -> tuple[Direction, Direction]:
    """Gradients of both directions' parameters from those of the packed operands.

    Args:
        gradients: Of the operands; `rates` may be in any layout of its shape.
        rates: The operand itself.
        like: Parameters of one direction, for their types.
    """
    num_rank = gradients.dt_weight.shape[-1]
    num_of_states = gradients.x_weight.shape[1] - num_rank
    of_states, of_rank = gradients.x_weight.split((num_of_states, num_rank), dim=1)
    stacked = Direction(
        conv_weight=gradients.conv_weight.unsqueeze(2),
        conv_bias=gradients.conv_bias,
        x_weight=torch.cat((of_rank, of_states), dim=1),
        dt_weight=gradients.dt_weight,
        dt_bias=gradients.dt_bias,
        A_log=(gradients.rates * rates).transpose(1, 2),
        D=gradients.D,
    )
    typed = [
        gradient.to(parameter.dtype) for gradient, parameter in zip(stacked, like, strict=True)
    ]
    return Direction(*(x[0] for x in typed)), Direction(*(x[1] for x in typed))


def implementation(device: torch.device | str) -> str:
    """Name of the form that runs on `device`, for records: ``triton`` or ``torch``."""
    return "triton" if torch.device(device).type == "cuda" and _has_triton() else "torch"


@functools.cache
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


_LIBRARY: Final = torch.library.Library("model_zoo", "FRAGMENT")
_LIBRARY.define(
    "pack_directions(Tensor[] forward, Tensor[] backward, ScalarType dtype)"
    " -> (Tensor conv_weight, Tensor conv_bias, Tensor x_weight, Tensor dt_weight,"
    " Tensor dt_bias, Tensor rates, Tensor D)"
)


def _on_cpu(
    forward: Sequence[Tensor], backward: Sequence[Tensor], dtype: torch.dtype
) -> tuple[Tensor, ...]:
    return cpu.pack(Direction(*forward), Direction(*backward), dtype)


def _on_cuda(
    forward: Sequence[Tensor], backward: Sequence[Tensor], dtype: torch.dtype
) -> tuple[Tensor, ...]:
    if not _has_triton():
        return _on_cpu(forward, backward, dtype)
    from model_zoo.kernels.pack_directions import triton

    forms.note("pack_directions", "triton")
    with torch.cuda.device_of(forward[0]):
        return triton.pack(Direction(*forward), Direction(*backward), dtype)


def _fake(
    forward: Sequence[Tensor], backward: Sequence[Tensor], dtype: torch.dtype
) -> tuple[Tensor, ...]:
    return empty(Direction(*forward), dtype)


def _count(*_: Any, **options: Any) -> int:
    """None: there is nothing to multiply and add."""
    return 0


_LIBRARY.impl("pack_directions", _on_cpu, "CPU")
_LIBRARY.impl("pack_directions", _on_cuda, "CUDA")
torch.library.register_fake("model_zoo::pack_directions", _fake, lib=_LIBRARY)
register_flop_formula(torch.ops.model_zoo.pack_directions)(_count)
