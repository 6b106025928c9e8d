"""Printed number and evidence -> verdict: the simplest arithmetic that gives the printed number.

Every way of counting that tables of the field use is tried, alone and in pairs: what is left out
or added, times the views of a video, times two, another input, another head. An explanation holds
if it comes within `TOLERANCE` of the printed number, or if the printed number is it, rounded. Of
several the one with the fewest reasons is taken, then the nearest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, NamedTuple

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
    CUT = "digits cut off instead of rounded"
    VIEWS = "multiplied by views"
    TWICE = "two operations a multiply-add"
    ATTENTION = "attention left out"
    PRODUCTS = "products outside of layers left out"
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


class _Fit(NamedTuple):
    """A way that gives the printed number; the least is the one to believe.

    Attributes:
        rounding: 0 where none is needed, 1 where it stands for the exact number, 2 where the
            exact number's digits were cut off.
    """

    num_reasons: float
    rounding: int
    error: float
    way: _Way

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """All of them; one if the numbers are simply equal."""
        return self.way.reasons + _ROUNDINGS[self.rounding] or (Reason.EQUAL,)


_ROUNDINGS: Final = ((), (Reason.ROUNDING,), (Reason.CUT,))


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
    fits = (_fit(row, way) for way in _ways_to_count(row, found, others, scale))
    fitting = sorted((fit for fit in fits if fit is not None), key=lambda fit: fit[:3])
    if not fitting:
        return Verdict(
            reasons=(Reason.UNEXPLAINED,),
            counted=counted,
            expected=None,
            arithmetic=f"{scale.show(counted)} counted, printed {row.text}"
            f" ({_percent(row.value, counted)})",
        )
    best = fitting[0]
    return Verdict(
        reasons=best.reasons,
        counted=counted,
        expected=best.way.value,
        arithmetic=_arithmetic(row, best, scale) + _alternatives(fitting, scale),
    )


def _alternatives(fitting: Sequence[_Fit], scale: "_Scale") -> str:
    """Other explanations that are as simple as the one believed, and fit too."""
    best = fitting[0]
    if best.num_reasons == 0:
        return ""
    found = {
        fit.reasons: f"; or {'; '.join(fit.reasons)}: {scale.show(fit.way.value)}"
        for fit in reversed(fitting)
        if fit.num_reasons == best.num_reasons and fit.reasons != best.reasons
    }
    return "".join(reversed(found.values()))


def _counted(row: Printed, found: Evidence) -> float | None:
    if row.metric == "params":
        return found.params
    if row.metric == "trainable_params":
        return found.trainable_params
    views = row.num_views if row.metric == "macs_per_video" else 1
    return None if found.macs is None else views * found.macs


def _num_reasons(row: Printed, way: _Way) -> float:
    """Fewer is simpler. Views that the source declares need no belief; another input needs more."""
    declared = row.metric == "macs_per_video"
    cost = {Reason.VIEWS: 0.0 if declared else 1.0, Reason.INPUT: 1.5}
    return sum(cost.get(reason, 1.0) for reason in way.reasons)


def _fit(row: Printed, way: _Way) -> _Fit | None:
    """How well `way` gives the printed number, or None if it does not."""
    if way.value <= 0:
        return None
    error = abs(row.value / way.value - 1)
    limit = OTHER_INPUT_TOLERANCE if Reason.INPUT in way.reasons else TOLERANCE
    reasons = _num_reasons(row, way)
    if error <= limit:
        return _Fit(reasons, 0, error, way)
    if abs(row.value - way.value) <= row.rounding:
        return _Fit(reasons, 1, error, way)
    is_cut = 0 <= way.value - row.value < 2 * row.rounding
    return _Fit(reasons, 2, error, way) if is_cut and not way.reasons else None


def _ways_to_count(
    row: Printed, found: Evidence, others: Sequence[Evidence], scale: "_Scale"
) -> Iterator[_Way]:
    """Every way that is not far-fetched; of a count over all views only such over views."""
    if not row.metric.startswith("macs"):
        yield from _ways_of_parameters(row, found, scale)
        return
    declared = row.metric == "macs_per_video"
    for way in [*_ways_of_operators(found, scale), *_ways_of_inputs(found, others, scale)]:
        for whole in _multiplied(row, way):
            believed = set(whole.reasons) - ({Reason.VIEWS} if declared else set())
            of_the_quantity = Reason.VIEWS in whole.reasons or not declared or row.num_views == 1
            if of_the_quantity and len(believed) <= MOST_REASONS and not _is_far_fetched(believed):
                yield whole


def _is_far_fetched(reasons: set[Reason]) -> bool:
    """Whether another input is also multiplied: so many products hit any number by chance."""
    return Reason.INPUT in reasons and bool({Reason.TWICE, Reason.VIEWS} & reasons)


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
    elif found.products:
        less = f"{whole} - {scale.show(found.products)} of {' and '.join(found.product_names)}"
        ways.append(_Way((Reason.PRODUCTS,), macs - found.products, less))
    if found.scan_flops:
        other = f"{whole} - {scale.show(found.scan)} + {scale.show(found.scan_flops)} of the scan"
        value = macs - found.scan + found.scan_flops
        ways.append(_Way((Reason.SCAN_IN_FLOPS,), value, other))
    yield from ways
    if found.norms:
        more = f" + {scale.show(found.norms)} of norms"
        for way in ways:
            yield _Way((*way.reasons, Reason.NORMS), way.value + found.norms, way.sum + more)


def _ways_of_inputs(found: Evidence, others: Sequence[Evidence], scale: "_Scale") -> Iterator[_Way]:
    """All of the operators at another input; also with norms, and of a scan's model without it."""
    for other in others:
        if not other.macs or other.clip == found.clip:
            continue
        norms = other.norms
        if found.num_pixels and not norms:  # an element of them is one of the input's places
            norms = found.norms * other.num_pixels / found.num_pixels
        for way in _ways_of_operators(replace(other, norms=norms), scale):
            if way.reasons in _AT_ANOTHER_INPUT:
                where = f"at {other.clip} (frames x pixels): {way.sum}"
                yield _Way((*way.reasons, Reason.INPUT), way.value, where)


_AT_ANOTHER_INPUT: Final = ((), (Reason.SCAN,), (Reason.FUSED,), (Reason.NORMS,))


def _multiplied(row: Printed, way: _Way) -> Iterator[_Way]:
    """`way` as it is, in FLOPs, over all views, and both."""
    twice = _Way((*way.reasons, Reason.TWICE), 2 * way.value, f"({way.sum}) x 2")
    for one in (way, twice):
        yield one
        if row.num_views > 1:
            clips, crops = row.views
            yield _Way(
                (*one.reasons, Reason.VIEWS),
                row.num_views * one.value,
                f"({one.sum}) x {clips} clips x {crops} crops",
            )


def _ways_of_parameters(row: Printed, found: Evidence, scale: "_Scale") -> Iterator[_Way]:
    """As counted, and with a head for the classes of the row's dataset or of a known one."""
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


def _arithmetic(row: Printed, fit: _Fit, scale: "_Scale") -> str:
    way = fit.way
    is_sum = any(sign in way.sum for sign in (" - ", " + ", ") x "))
    equals = f" = {scale.show(way.value)}" if is_sum else ""
    text = f"{way.sum}{equals}, printed {row.text} ({_percent(row.value, way.value)})"
    if fit.rounding != 1:
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
