"""Least time of a kernel on a GPU: what its bytes, its products and its exponentials need.

The three overlap, so the longest counts. Peaks are datasheet figures, a call costs nothing to
launch, so the sum over a model is a lower bound: no real program is faster.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import torch
from torch import Tensor
from torch._ops import OpOverload

from model_zoo.kernels import exponentials
from vbench.core.types import Precision
from vbench.measure.hardware import Gpu

_PRECISION_OF: Final[dict[torch.dtype, Precision]] = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
}
_ATTENTION_PREFIX: Final = "_scaled_dot_product_"


class NoPeakError(Exception):
    """The GPU has no matrix units for a type of number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Roofline:
    """Turns work into seconds.

    Attributes:
        allow_tf32: Whether fp32 products may run as tf32.
    """

    gpu: Gpu
    allow_tf32: bool

    def seconds(
        self,
        operator: OpOverload,
        args: tuple[Any, ...],
        *,
        flops: int,
        moved_bytes: int,
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> tuple[float, str]:
        """Least seconds of one call, and what bounds it.

        Args:
            options: Arguments by keyword.

        Raises:
            NoPeakError: The products are in a type that the GPU has no unit for.
        """
        bounds = {"memory": moved_bytes / self.gpu.bandwidth_bytes_per_s}
        if flops:
            unit, rate = self._flops_per_s(operator, args)
            bounds[unit] = flops / rate
            count = special_functions(operator, args, options)
            bounds["exponentials"] = count / self.gpu.special_functions_per_s
        bound = max(bounds, key=bounds.__getitem__)
        return bounds[bound], bound

    def _flops_per_s(self, operator: OpOverload, args: tuple[Any, ...]) -> tuple[str, float]:
        """Unit that does the products, and its rate. Only torch's own kernels use matrix units."""
        if operator.namespace != "aten":
            return "vector units", self.gpu.fp32_flops_per_s
        dtype = next(x.dtype for x in args if isinstance(x, Tensor))
        precision = _PRECISION_OF.get(dtype, "fp32")
        if precision == "fp32" and self.allow_tf32:
            precision = "tf32"
        rate = self.gpu.peak_flops_per_s(precision)
        if rate is None:
            raise NoPeakError(f"{self.gpu.name} has no matrix units for {precision}")
        return ("vector units" if precision == "fp32" else "matrix units"), rate


def special_functions(
    operator: OpOverload, args: tuple[Any, ...], options: Mapping[str, Any]
) -> int:
    """Exponentials of an operator, as far as bytes or products would not show them.

    The zoo's operators register their counts. Attention takes one a score.
    """
    registered = exponentials.of_call(operator, args, options)
    if registered is not None:
        return registered
    name = operator._schema.name.partition("::")[2]
    if name.startswith(_ATTENTION_PREFIX):
        q, k = args[1:3] if name.endswith("_backward") else args[:2]
        return int(q.shape[:-1].numel() * k.shape[-2])
    return 0
