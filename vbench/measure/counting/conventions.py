"""The selective scan as others count it, beside our own count.

Ours is in multiply-adds (`model_zoo.kernels.selective_scan.multiply_adds`). VMamba adds 9 flops a
state to totals in which a multiply-add counts once; VideoMamba's printed GFLOPs hold no scan at
all, nor the convolution and the projections that its fused operator hides from fvcore.
"""

from typing import Any, Final

from torch._ops import OpOverload

_SCAN: Final = "model_zoo::selective_scan"
_OWN_NAMESPACE: Final = "model_zoo::"


def is_recurrence(operator: str) -> bool:
    """Whether `operator` is one of the zoo's scans: its own operators but for the convolution.

    >>> is_recurrence("model_zoo::selective_scan"), is_recurrence("model_zoo::causal_conv1d")
    (True, False)
    """
    return operator.startswith(_OWN_NAMESPACE) and "conv" not in operator


def vmamba_scan_flops(operator: OpOverload, args: tuple[Any, ...]) -> int:
    """FLOPs of one call as VMamba counts them; 0 if it is no forward scan.

    Source: ``flops_selective_scan_fn`` in MzeroMiko/VMamba@2ed52ea.
    """
    if operator._schema.name != _SCAN:
        return 0
    from model_zoo.kernels.selective_scan import vmamba_flops

    named = dict(zip((a.name for a in operator._schema.arguments), args, strict=False))
    return vmamba_flops(
        named["u"].shape,
        named["A"].shape[-1],
        has_skip=named["D"] is not None,
        has_gate=named["z"] is not None,
    )
