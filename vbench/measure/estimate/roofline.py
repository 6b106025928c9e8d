"""Least time of a kernel on a GPU: what its bytes, its products and its exponentials need.

The three overlap, so the longest counts. Peaks are datasheet figures, a call costs nothing to
launch, so the sum over a model is a lower bound: no real program is faster.
"""

from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor
from torch._ops import OpOverload

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
        self, operator: OpOverload, args: tuple[Any, ...], *, flops: int, moved_bytes: int
    ) -> tuple[float, str]:
        """Least seconds of one call, and what bounds it.

        Raises:
            NoPeakError: The products are in a type that the GPU has no unit for.
        """
        bounds = {"memory": moved_bytes / self.gpu.bandwidth_bytes_per_s}
        if flops:
            unit, rate = self._flops_per_s(operator, args)
            bounds[unit] = flops / rate
            exponentials = special_functions(operator, args)
            bounds["exponentials"] = exponentials / self.gpu.special_functions_per_s
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


def special_functions(operator: OpOverload, args: tuple[Any, ...]) -> int:
    """Exponentials of the operators that have more of them than memory traffic would show.

    Attention takes one a score; the selective scan one a token, channel and state, and its backward
    pass as many again to recompute the states.
    """
    name = operator._schema.name.partition("::")[2]
    is_backward = name.endswith("_backward")
    if name.startswith("selective_scan"):
        named = dict(zip((a.name for a in operator._schema.arguments), args, strict=False))
        steps = named["u"].numel() * named["A"].shape[-1]  # (G, B, L, E) and N states
        return int(steps) * (2 if is_backward else 1)
    if name.startswith(_ATTENTION_PREFIX):
        q, k = args[1:3] if is_backward else args[:2]
        return int(q.shape[:-1].numel() * k.shape[-2])
    return 0
