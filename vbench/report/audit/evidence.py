"""What a record knows of a model's cost, part by part: the quantities that verdicts are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from vbench.core.types import Record

_ATTENTION: Final = "scaled_dot_product_attention"
_OWN: Final = "model_zoo::"
_PRODUCTS: Final = ("matmul", "bmm", "einsum")  # of tensors that no nn.Linear holds


@dataclass(frozen=True, kw_only=True, slots=True)
class Evidence:
    """Counted quantities of one case, in multiply-adds and parameters.

    Attributes:
        clip: Its input in words.
        num_pixels: Of its input, over all frames.
        attention: Products inside of attention.
        scan: Recurrences.
        hidden: By operator what a counter misses that cannot look into a fused state-space block:
            the scan, its convolution and the projections that lie between; empty for other models.
        products: Products of tensors that neither a layer nor attention holds, of a model without
            a scan, and `product_names` their operators.
        norms: What fvcore counts for normalisation: 5 an element of a LayerNorm, 2 of a BatchNorm.
        scan_flops: The scan by the formula that VMamba uses.
        num_classes: Of the head that was counted.
        params_per_class: What one more class adds.
    """

    clip: str
    num_pixels: int = 0
    macs: float | None = None
    params: float | None = None
    trainable_params: float | None = None
    attention: float = 0.0
    scan: float = 0.0
    hidden: Mapping[str, float] = field(default_factory=dict)
    products: float = 0.0
    product_names: tuple[str, ...] = ()
    norms: float = 0.0
    scan_flops: float = 0.0
    num_classes: float | None = None
    params_per_class: float | None = None


def evidence(record: Record) -> Evidence:
    """Read the quantities of a record; what it lacks stays unknown."""

    def first(metric: str) -> float | None:
        return next(iter(record.values(metric)), None)

    operators = numbers(record, "macs_by_operator")
    scan = first("scan_macs") or 0.0
    products = {name: operators[name] for name in _PRODUCTS if name in operators and not scan}
    clip = record.case.clip
    return Evidence(
        clip=str(clip),
        num_pixels=clip.num_frames * clip.height_px * clip.width_px,
        macs=first("macs"),
        params=first("params"),
        trainable_params=first("trainable_params"),
        attention=operators.get(_ATTENTION, 0.0),
        scan=scan,
        hidden=_hidden(operators) if scan else {},
        products=sum(products.values()),
        product_names=tuple(products),
        norms=_norms(record),
        scan_flops=first("vmamba_scan_flops") or 0.0,
        num_classes=first("num_classes"),
        params_per_class=first("params_per_class"),
    )


def _hidden(operators: Mapping[str, float]) -> dict[str, float]:
    return {
        name: macs for name, macs in operators.items() if name.startswith(_OWN) or name in _PRODUCTS
    }


def _norms(record: Record) -> float:
    counted = numbers(record, "fvcore_by_operator")
    return sum(macs for operator, macs in counted.items() if "norm" in operator)


def numbers(record: Record, topic: str) -> dict[str, float]:
    """A note that holds numbers by name; empty if there is none or it is not that."""
    return {
        name: float(value)
        for name, value in table(record, topic).items()
        if isinstance(value, int | float)
    }


def table(record: Record, topic: str) -> dict[str, Any]:
    """A note that is a JSON object; empty if there is none or it is not that."""
    try:
        return msgspec.json.decode(record.notes.get(topic, "{}"), type=dict[str, Any])
    except msgspec.DecodeError:
        return {}
