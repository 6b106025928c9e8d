"""What an operator costs: torch's own formulas, those it lacks, and what costs nothing.

A formula takes the operator's arguments and ``out_val``, its result, and gives flops, two a
multiply-accumulate. torch's own are in `torch.utils.flop_counter.flop_registry`, where
`model_zoo.kernels` registers those of its operators as well.

What they leave out, as every counter of the field does: elementwise arithmetic, normalisation,
softmax, pooling, interpolation, reductions. Masked and causal attention count the whole N x N.
"""

import functools
import math
import re
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils.flop_counter import flop_registry

Formula = Callable[..., int]

aten = torch.ops.aten


def _matrix_vector(matrix: Tensor, vector: Tensor, **_: Any) -> int:
    return 2 * matrix.numel()


def _added_matrix_vector(bias: Tensor, matrix: Tensor, vector: Tensor, **_: Any) -> int:
    return 2 * matrix.numel()


def _dot(a: Tensor, b: Tensor, **_: Any) -> int:
    return 2 * a.numel()


def _matrix_product(a: Tensor, b: Tensor, **_: Any) -> int:
    return 2 * a.numel() * b.shape[-1]


def _added_matrix_product(bias: Tensor, a: Tensor, b: Tensor, *_: Any, **__: Any) -> int:
    return 2 * a.numel() * b.shape[-1]


def _attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> int:
    return 2 * math.prod(q.shape[:-1]) * k.shape[-2] * (q.shape[-1] + v.shape[-1])


def _attention_backward(
    grad_out: Tensor, q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any
) -> int:
    """Scores once more, then the gradients of v, of the scores, of q and of k."""
    return 2 * math.prod(q.shape[:-1]) * k.shape[-2] * (3 * q.shape[-1] + 2 * v.shape[-1])


def _convolution_backward(
    grad_out: Tensor,
    x: Tensor,
    weight: Tensor,
    bias_sizes: list[int] | None,
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    transposed: bool,  # noqa: FBT001 - the operator's own signature
    output_padding: list[int],
    groups: int,
    output_mask: list[bool],
    **_: Any,
) -> int:
    """Each of the gradients of input and weight costs as much as the forward pass."""
    places = math.prod((x if transposed else grad_out).shape[2:])
    return 2 * x.shape[0] * places * weight.numel() * (output_mask[0] + output_mask[1])


# torch 2.13 takes the weight gradient of a grouped convolution for that of a dense one, and has
# nothing for the others; attention on a CPU is pytorch/pytorch#195460
_OWN: Final[dict[Any, Formula]] = {
    aten.convolution_backward: _convolution_backward,
    aten.mv: _matrix_vector,
    aten.addmv: _added_matrix_vector,
    aten.dot: _dot,
    aten.vdot: _dot,
    aten.addbmm: _added_matrix_product,
    aten._addmm_activation: _added_matrix_product,
    aten._int_mm: _matrix_product,
    aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}


def formula_of(operator: OpOverload) -> Formula | None:
    """Formula of `operator`, or None."""
    packet = operator._overloadpacket
    formula: Formula | None = _OWN.get(packet) or flop_registry.get(packet)
    return formula


@functools.cache
def is_composite(operator: OpOverload) -> bool:
    """Whether `operator` only calls others, which are then the ones to look at."""
    return operator.has_kernel_for_dispatch_key(torch._C.DispatchKey.CompositeImplicitAutograd)


@functools.cache
def has_no_macs(operator: OpOverload) -> bool:
    """Whether an aten operator is known to hold no multiply-accumulates by the convention above."""
    tags = operator.tags
    return (
        torch.Tag.pointwise in tags
        or torch.Tag.reduction in tags
        or operator.is_view
        or not any("Tensor" in str(argument.type) for argument in operator._schema.arguments)
        or _WITHOUT_MACS.search(base_name(operator)) is not None
    )


def base_name(operator: OpOverload) -> str:
    """Name without overload, and without ``aten::``.

    >>> base_name(torch.ops.aten.add.Tensor)
    'add'
    """
    return operator._schema.name.removeprefix("aten::")


_WITHOUT_MACS: Final = re.compile(
    r"""
    norm(?!al) | softmax | pool[123]d | upsample_ | dropout | loss | cross_entropy
  | ^_?foreach_ | ^_fused_ | _?pad(?:[123]d|_nd)?(?:_backward)?$ | pixel_(?:un)?shuffle
  | ^_?(?:unsafe_)?(?:masked_)?index | ^_?(?:unsafe_)?masked_ | ^gather | scatter | ^take | ^put
  | ^embedding | ^unfold | ^im2col$ | ^col2im$ | ^diag | ^channel_shuffle
  | ^_?(?:unsafe_)?(?:stack|view|split(?:_with_sizes)?|cat|slice|select)(?:_backward)?$
  | copy | ^_?clone | ^contiguous | ^_?to_ | ^lift | ^detach | ^_?reshape | ^_?resize | ^set_?$
  | ^as_strided | ^squeeze_ | ^unsqueeze_ | ^transpose_ | ^t_$ | ^expand
  | ^repeat | ^roll$ | ^flip$ | ^rot90$ | ^tri[lu] | ^sort$ | ^topk$ | ^kthvalue$ | ^_?unique
  | ^nonzero | ^searchsorted$ | ^bucketize$ | ^bincount$ | ^histc$ | ^isin$ | ^median | ^mode$
  | ^(?:new_)?(?:zeros?|ones|full|empty|scalar_tensor|fill)(?:_|$)
  | ^(?:rand|randn|randint|random|normal|uniform|bernoulli|exponential|multinomial)(?:_|$)
  | ^_?local_scalar | ^_?(?:functional_)?assert | ^is_ | ^record_stream | ^allclose$ | ^equal$
  | ^_?(?:log)?cum(?:sum|prod|max|min|sumexp) | ^_?prelu | ^_thnn_fused_.*_cell
  | (?:elu|glu|gelu|mish|sigmoid|shrink|tanh|swish|softplus|threshold)_?(?:_(?:for|back)ward)?$
  | ^_masked_scale | ^polar$ | ^complex$ | ^aminmax | ^_aminmax | ^_?amp_
    """,
    re.VERBOSE,
)
