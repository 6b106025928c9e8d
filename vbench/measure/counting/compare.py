"""Why two counters disagree, operator by operator, in words that a reader can check."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

from vbench.measure.counting.exact import OperationCount
from vbench.measure.counting.report import OtherCount

Reason = Literal[
    "EQUAL",
    "SDPA_MISSED",
    "EINSUM_MISSED",
    "EINSUM_ROUNDED",
    "SUBCLASS_RULE",
    "FUNCTIONAL_CONV",
    "FUNCTIONAL_MATMUL",
    "CUSTOM_OP",
    "AUTOGRAD_FN",
    "BROADCAST",
    "MODULE_REUSE",
    "NORM_COUNTED",
    "ELEMENTWISE_COUNTED",
    "NO_RULE",
    "UNEXPLAINED",
]

WHY: Final[dict[Reason, str]] = {
    "EQUAL": "both count the same",
    "SDPA_MISSED": "{library} has no rule for scaled_dot_product_attention, so the products of "
    "queries, keys and values inside of it count nothing",
    "EINSUM_MISSED": "{library} does not count this contraction as what it is",
    "EINSUM_ROUNDED": "{library} reads the count off a text of numpy's that has four digits",
    "SUBCLASS_RULE": "{library} looks a module up by its exact type, and this is a subclass of one "
    "that it knows",
    "FUNCTIONAL_CONV": "{library} counts modules, and this convolution is called as a function",
    "FUNCTIONAL_MATMUL": "{library} counts modules, and this product is called as a function",
    "CUSTOM_OP": "{library} has no rule for an operator from outside of torch",
    "AUTOGRAD_FN": "{library} does not look inside of a custom autograd function",
    "BROADCAST": "{library} counts a broadcast product as often as its first operand has matrices",
    "MODULE_REUSE": "{library} misses calls that do not go through the module's own call",
    "NORM_COUNTED": "{library} counts normalisation, which is no multiply-accumulate of a product",
    "ELEMENTWISE_COUNTED": "{library} counts elementwise work, which we leave out",
    "NO_RULE": "{library} has no rule for this operator",
    "UNEXPLAINED": "no known reason",
}

_NAME_IN_FVCORE: Final = {"convolution": "conv"}
_OTHER_REASONS: Final[dict[str, Reason]] = {
    "scaled_dot_product_attention": "SDPA_MISSED",
    "einsum": "EINSUM_MISSED",
}
_RELATIVE_TOLERANCE: Final = 1e-9
_FOUR_DIGITS: Final = 1e-3


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Multiply-accumulates of one operator by both counters, and why they differ.

    Attributes:
        operator: For thop with the type of module, as it counts by these.
    """

    operator: str
    ours: float
    theirs: float
    reason: Reason
    why: str


def compare(ours: OperationCount, theirs: OtherCount) -> list[Difference]:
    """Every operator that either counter saw, the largest difference first.

    The differences add up to that of the totals. Counts must be of the same forward pass.
    """
    rows = _by_module_type(ours, theirs) if theirs.counts_modules else _by_operator(ours, theirs)
    return sorted(
        (
            Difference(
                operator=operator,
                ours=our_macs,
                theirs=their_macs,
                reason=reason,
                why=WHY[reason].format(library=theirs.library),
            )
            for operator, our_macs, their_macs, reason in rows
        ),
        key=lambda row: (-abs(row.ours - row.theirs), row.operator),
    )


def as_note(differences: Iterable[Difference]) -> str:
    """What `compare` found as JSON, for a record's notes."""
    return json.dumps(
        {
            row.operator: {"ours": row.ours, "theirs": row.theirs, "why": row.why}
            for row in differences
        }
    )


_Row = tuple[str, float, float, Reason]


def _by_operator(ours: OperationCount, theirs: OtherCount) -> Iterator[_Row]:
    left = dict(theirs.by_operator)
    for operator, macs in ours.by_operator().items():
        their_macs = left.pop(_NAME_IN_FVCORE.get(operator, operator), 0.0)
        yield operator, macs, their_macs, _reason_by_operator(operator, macs, their_macs, theirs)
    yield from _only_theirs(left)


def _reason_by_operator(
    operator: str, our_macs: float, their_macs: float, theirs: OtherCount
) -> Reason:
    if _equal(our_macs, their_macs):
        return "EQUAL"
    if "::" in operator:
        return "CUSTOM_OP"
    if operator == "einsum" and _equal(our_macs, their_macs, tolerance=_FOUR_DIGITS):
        return "EINSUM_ROUNDED"
    if operator in _OTHER_REASONS:
        return _OTHER_REASONS[operator]
    if f"aten::{operator}" in theirs.missed:
        return "NO_RULE"
    if their_macs < our_macs and any(name.startswith("prim::PythonOp") for name in theirs.missed):
        return "AUTOGRAD_FN"
    if operator == "matmul" and their_macs < our_macs:
        return "BROADCAST"
    return "UNEXPLAINED"


def _by_module_type(ours: OperationCount, theirs: OtherCount) -> Iterator[_Row]:
    left = dict(theirs.by_operator)
    known: Counter[str] = Counter()
    for (layer, operator), macs in ours.by("layer", "operator").items():
        module_type = layer.rpartition(".")[2]
        if layer in theirs.known_types:
            known[module_type] += macs  # type: ignore[assignment]
        else:
            reason = _reason_by_module(operator, module_type, theirs)
            yield f"{module_type}: {operator}" if module_type else operator, macs, 0.0, reason
    for module_type, macs in known.items():
        their_macs = left.pop(module_type, 0.0)
        yield module_type, macs, their_macs, _reason_of_known(macs, their_macs)
    yield from _only_theirs(left)


def _reason_of_known(our_macs: float, their_macs: float) -> Reason:
    if _equal(our_macs, their_macs):
        return "EQUAL"
    return "MODULE_REUSE" if their_macs < our_macs else "UNEXPLAINED"


def _reason_by_module(operator: str, module_type: str, theirs: OtherCount) -> Reason:
    if "::" in operator:
        return "CUSTOM_OP"
    if module_type in theirs.subclasses:
        return "SUBCLASS_RULE"
    if operator in _OTHER_REASONS:
        return _OTHER_REASONS[operator]
    return "FUNCTIONAL_CONV" if operator == "convolution" else "FUNCTIONAL_MATMUL"


def _only_theirs(by_operator: dict[str, float]) -> Iterator[_Row]:
    for operator, macs in by_operator.items():
        is_norm = "norm" in operator.lower()
        yield operator, 0.0, macs, "NORM_COUNTED" if is_norm else "ELEMENTWISE_COUNTED"


def _equal(ours: float, theirs: float, *, tolerance: float = _RELATIVE_TOLERANCE) -> bool:
    return abs(ours - theirs) <= tolerance * max(ours, theirs)
