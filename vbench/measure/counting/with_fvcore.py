"""Count with fvcore (0.1.5), its table of rules untouched: what it misses is what we want to know.

fvcore traces with `torch.jit`, and tracing a convolution on the meta device fails: torch records
``_convolution`` only when a backend's kernel is reached, and the meta kernel reads sizes that a
trace has turned into tensors ("cond must be a bool"). So convolutions are called as
``torch._convolution``, which torch records itself before its meta kernel runs, under the very name
that fvcore has a rule for. A trace has no type for a list of flags either, which the zoo's scans
take; such an operator is one opaque node, which fvcore lists as unsupported, as it should.
"""

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch._ops import OpOverload, OpOverloadPacket
from torch.overrides import TorchFunctionMode

from vbench.measure.counting.report import OtherCount

_OPAQUE: Final = "custom_"


def count_with_fvcore(model: nn.Module, clips: Tensor) -> OtherCount:
    """Multiply-accumulates of a forward pass in eval mode; `model` is left as it is.

    Raises:
        One of `COUNTER_FAILURES`: fvcore cannot trace the model.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch.jit is deprecated, fvcore's all
        from fvcore.nn import FlopCountAnalysis

        traced = _TensorOutputs(copy.deepcopy(model).eval())  # a failing trace leaves hooks behind
        analysis = FlopCountAnalysis(traced, clips)
        analysis.unsupported_ops_warnings(enabled=False).uncalled_modules_warnings(enabled=False)
        analysis.tracer_warnings("none")
        with torch.no_grad(), _TraceableCalls():
            by_operator = analysis.by_operator()
    return OtherCount(
        library="fvcore",
        by_operator={name: float(macs) for name, macs in by_operator.most_common()},
        missed={
            name.removeprefix(f"prim::PythonOp.{_OPAQUE}"): times
            for name, times in analysis.unsupported_ops().most_common()
        },
    )


class _TensorOutputs(nn.Module):
    """The model with its output as a tuple of tensors: a trace does not take a dictionary."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, clips: Tensor) -> object:
        output = self.model(clips)
        return tuple(output.values()) if isinstance(output, Mapping) else output


class _TraceableCalls(TorchFunctionMode):
    """Call convolutions, and operators that take a list of flags, in ways that can be traced."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if isinstance(func, OpOverload | OpOverloadPacket) and _holds_flags(func):
            return _opaque(func, args, kwargs)
        if any(isinstance(value, str) for value in (*args, *kwargs.values())):
            return func(*args, **kwargs)  # padding by name is recorded by torch, unknown to fvcore
        return _REPLACEMENTS.get(func, func)(*args, **kwargs)


def _holds_flags(operator: OpOverload | OpOverloadPacket) -> bool:
    overload = operator.default if isinstance(operator, OpOverloadPacket) else operator
    return any(str(argument.type) == "List[bool]" for argument in overload._schema.arguments)


def _opaque(
    operator: OpOverload | OpOverloadPacket, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Call `operator` so that a trace holds one node of its name and nothing from inside."""

    def forward(ctx: Any, *tensors: Tensor) -> Any:
        tracing = torch._C._get_tracing_state()
        torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
        try:
            return operator(*args, **kwargs)
        finally:
            torch._C._set_tracing_state(tracing)  # type: ignore[attr-defined]

    name = f"{_OPAQUE}{operator.__name__.partition('.')[0]}"
    function: Any = type(name, (torch.autograd.Function,), {"forward": staticmethod(forward)})
    return function.apply(*(x for x in args if isinstance(x, Tensor)))


_Sizes = int | tuple[int, ...]


def _convolution(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Sizes = 1,
    padding: _Sizes = 0,
    dilation: _Sizes = 1,
    groups: int = 1,
) -> Tensor:
    return _traced(x, weight, bias, stride, padding, dilation, groups)


def _transposed(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: _Sizes = 1,
    padding: _Sizes = 0,
    output_padding: _Sizes = 0,
    groups: int = 1,
    dilation: _Sizes = 1,
) -> Tensor:
    return _traced(x, weight, bias, stride, padding, dilation, groups, output_padding)


def _traced(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: _Sizes,
    padding: _Sizes,
    dilation: _Sizes,
    groups: int,
    output_padding: _Sizes | None = None,
) -> Tensor:
    num_dims = weight.ndim - 2
    return torch._convolution(
        x,
        weight,
        bias,
        _each(stride, num_dims),
        _each(padding, num_dims),
        _each(dilation, num_dims),
        transposed=output_padding is not None,
        output_padding=_each(output_padding or 0, num_dims),
        groups=groups,
        benchmark=False,
        deterministic=False,
        cudnn_enabled=False,
        allow_tf32=False,
    )


def _each(size: _Sizes, num_dims: int) -> list[int]:
    return [size] * num_dims if isinstance(size, int) else list(size) * (num_dims // len(size))


_REPLACEMENTS: Final[dict[Callable[..., Any], Callable[..., Any]]] = {
    torch.conv1d: _convolution,
    torch.conv2d: _convolution,
    torch.conv3d: _convolution,
    torch.conv_transpose1d: _transposed,
    torch.conv_transpose2d: _transposed,
    torch.conv_transpose3d: _transposed,
}
