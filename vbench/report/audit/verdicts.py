"""Printed number and evidence -> verdict: the simplest arithmetic that gives the printed number.

Every way of counting that tables of the field use is tried, alone and in pairs: what is left out
or added, times the views of a video, times two, another input, another head. An explanation holds
if it comes within `TOLERANCE` of the printed number, or if the printed number is it, rounded. Of
several the one with the fewest reasons is taken, then the nearest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from vbench.core.printed import Printed
from vbench.report.audit.evidence import Evidence

TOLERANCE: Final = 0.02
OTHER_INPUT_TOLERANCE: Final = 0.01  # many inputs are tried, so a chance hit must be less likely
MOST_REASONS: Final = 2

CLASSES: Final = {
    "breakfast": 10,
    "jester": 27,
    "diving48": 48,
    "hmdb51": 51,
    "ucf101": 101,
    "ssv1": 174,
    "ssv2": 174,
    "kinetics400": 400,
    "kinetics600": 600,
    "kinetics700": 700,
    "kinetics710": 710,
    "imagenet1k": 1000,
}


class Reason(StrEnum):
    """Why a printed number is what it is. The list is closed."""

    EQUAL = "equal"
    ROUNDING = "rounding of the print"
    VIEWS = "multiplied by views"
    TWICE = "two operations a multiply-add"
    ATTENTION = "attention left out"
    SCAN = "scan left out"
    FUSED = "scan left out, and the projections and convolution fused with it"
    SCAN_IN_FLOPS = "scan counted in FLOPs, the rest in multiply-adds"
    NORMS = "norms counted"
    INPUT = "another input size"
    HEAD = "a head of another size"
    UNEXPLAINED = "unexplained"
    NOT_COUNTED = "not counted"


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What a printed number was found to be.

    Attributes:
        reasons: One, or several that hold together.
        counted: What our count gives for the quantity as its source names it; None if the case
            could not be counted.
        expected: What the reasons make of it.
        arithmetic: The sum, for the reader to check.
    """

    reasons: tuple[Reason, ...]
    counted: float | None
    expected: float | None
    arithmetic: str

    @property
    def text(self) -> str:
        """The reasons in words."""
        return "; ".join(self.reasons)

    @property
    def is_equal(self) -> bool:
        """Whether nothing has to be explained."""
        return self.reasons == (Reason.EQUAL,)

    @property
    def is_settled(self) -> bool:
        """Whether it is equal or explained."""
        return not {Reason.UNEXPLAINED, Reason.NOT_COUNTED} & set(self.reasons)


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to count: the number it gives and how."""

    reasons: tuple[Reason, ...]
    value: float
    sum: str


def verdict(row: Printed, found: Evidence | None, others: Sequence[Evidence] = ()) -> Verdict:
    """Explain `row`.

    Args:
        found: Of the case at the printed input; None if it was not counted.
        others: Of the same model at other inputs.
    """
    counted = None if found is None else _counted(row, found)
    if found is None or counted is None:
        return Verdict(
            reasons=(Reason.NOT_COUNTED,), counted=None, expected=None, arithmetic="no count"
        )
    scale = _Scale.of(row)
    ways = _ways_to_count(row, found, others, scale)
    fitting = sorted(
        (
            (_num_reasons(row, way), rounded, error, way)
            for way in ways
            if (fit := _fit(row, way)) is not None
            for rounded, error in (fit,)
        ),
        key=lambda candidate: candidate[:3],
    )
    if not fitting:
        return Verdict(
            reasons=(Reason.UNEXPLAINED,),
            counted=counted,
            expected=None,
            arithmetic=f"{scale.show(counted)} counted, printed {row.text}"
            f" ({_percent(row.value, counted)})",
        )
    _, rounded, _, way = fitting[0]
    reasons = way.reasons + ((Reason.ROUNDING,) if rounded else ())
    return Verdict(
        reasons=reasons or (Reason.EQUAL,),
        counted=counted,
        expected=way.value,
        arithmetic=_arithmetic(row, way, scale, rounded=rounded),
    )


def _counted(row: Printed, found: Evidence) -> float | None:
    if row.metric == "params":
        return found.params
    return found.trainable_params if row.metric == "trainable_params" else found.macs


def _num_reasons(row: Printed, way: _Way) -> float:
    """Fewer is simpler. Views that the source declares need no belief; another input needs more."""
    declared = row.metric == "macs_per_video"
    cost = {Reason.VIEWS: 0.0 if declared else 1.0, Reason.INPUT: 1.5}
    return sum(cost.get(reason, 1.0) for reason in way.reasons)


def _fit(row: Printed, way: _Way) -> tuple[bool, float] | None:
    """Whether rounding is needed and how far off `way` is, or None if it does not fit."""
    if way.value <= 0:
        return None
    error = abs(row.value / way.value - 1)
    limit = OTHER_INPUT_TOLERANCE if Reason.INPUT in way.reasons else TOLERANCE
    if error <= limit:
        return False, error
    return (True, error) if abs(row.value - way.value) <= row.rounding else None


def _ways_to_count(
    row: Printed, found: Evidence, others: Sequence[Evidence], scale: "_Scale"
) -> Iterator[_Way]:
    if not row.metric.startswith("macs"):
        yield from _ways_of_parameters(row, found, others, scale)
        return
    for way in [*_ways_of_operators(found, scale), *_ways_of_inputs(row, found, others, scale)]:
        for whole in _multiplied(row, way):
            declared = row.metric == "macs_per_video" and Reason.VIEWS in whole.reasons
            if len(whole.reasons) - declared <= MOST_REASONS:
                yield whole


def _ways_of_operators(found: Evidence, scale: "_Scale") -> Iterator[_Way]:
    """All of the operators, without some, with some in another unit; with and without norms."""
    macs = found.macs or 0.0
    whole = f"{scale.show(macs)} counted"
    ways = [_Way((), macs, whole)]
    if found.attention:
        less = f"{whole} - {scale.show(found.attention)} of attention"
        ways.append(_Way((Reason.ATTENTION,), macs - found.attention, less))
    if found.scan:
        less = f"{whole} - {scale.show(found.scan)} of the scan"
        ways.append(_Way((Reason.SCAN,), macs - found.scan, less))
        parts = "".join(f" - {scale.show(n)} {name}" for name, n in found.hidden.items())
        ways.append(_Way((Reason.FUSED,), macs - sum(found.hidden.values()), whole + parts))
    if found.scan_flops:
        other = f"{whole} - {scale.show(found.scan)} + {scale.show(found.scan_flops)} of the scan"
        value = macs - found.scan + found.scan_flops
        ways.append(_Way((Reason.SCAN_IN_FLOPS,), value, other))
    yield from ways
    if found.norms:
        more = f" + {scale.show(found.norms)} of norms"
        for way in ways:
            yield _Way((*way.reasons, Reason.NORMS), way.value + found.norms, way.sum + more)


def _ways_of_inputs(
    row: Printed, found: Evidence, others: Sequence[Evidence], scale: "_Scale"
) -> Iterator[_Way]:
    for other in others:
        if other.macs and other.clip != found.clip:
            text = f"{scale.show(other.macs)} counted at {other.clip} (frames x pixels)"
            yield _Way((Reason.INPUT,), other.macs, text)


def _multiplied(row: Printed, way: _Way) -> Iterator[_Way]:
    yield way
    yield _Way((*way.reasons, Reason.TWICE), 2 * way.value, f"({way.sum}) x 2")
    if row.num_views > 1:
        clips, crops = row.views
        yield _Way(
            (*way.reasons, Reason.VIEWS),
            row.num_views * way.value,
            f"({way.sum}) x {clips} clips x {crops} crops",
        )


def _ways_of_parameters(
    row: Printed, found: Evidence, others: Sequence[Evidence], scale: "_Scale"
) -> Iterator[_Way]:
    counted = _counted(row, found) or 0.0
    whole = f"{scale.show(counted)} counted"
    yield _Way((), counted, whole)
    if found.num_classes is None or found.params_per_class is None:
        return
    own = CLASSES.get(row.dataset)
    for classes in [own] if own else sorted(set(CLASSES.values())):
        more = classes - found.num_classes
        if more:
            yield _Way(
                (Reason.HEAD,),
                counted + more * found.params_per_class,
                f"{whole} {'+' if more > 0 else '-'} {abs(more):.0f} classes"
                f" x {found.params_per_class:.0f}",
            )


def _arithmetic(row: Printed, way: _Way, scale: "_Scale", *, rounded: bool) -> str:
    is_sum = any(sign in way.sum for sign in (" - ", " + ", ") x "))
    equals = f" = {scale.show(way.value)}" if is_sum else ""
    text = f"{way.sum}{equals}, printed {row.text} ({_percent(row.value, way.value)})"
    if not rounded:
        return text
    low, high = (scale.show(row.value + sign * row.rounding) for sign in (-1, 1))
    return f"{text}, which stands for {low} to {high}"


def _percent(value: float, reference: float) -> str:
    return f"{100 * (value / reference - 1):+.1f} %"


@dataclass(frozen=True, slots=True)
class _Scale:
    """One prefix for all numbers of a row."""

    size: float
    unit: str

    @classmethod
    def of(cls, row: Printed) -> "_Scale":
        return cls(1e9, "G") if row.metric.startswith("macs") else cls(1e6, "M")

    def show(self, value: float) -> str:
        """Four significant digits, or all whole ones."""
        amount = value / self.size
        digits = f"{amount:,.0f}" if abs(amount) >= 1000 else f"{amount:#.4g}"
        return f"{digits.rstrip('.')} {self.unit}"
