"""How operations, memory and time grow with frames and with pixels, family by family."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from vbench.core import stats
from vbench.core.claims import Claim, Part
from vbench.report.claims import Finding, Judgement, Verdict, judge
from vbench.report.claims.points import Point, Reading, kind_of, label_of
from vbench.report.claims.settings import Setting, verdict_of
from vbench.report.scaling import fit_power_law
from vbench.report.tables import EMPTY, Cell, Column, Table, text

Axis = Literal["frames", "pixels"]
AXES: Final[tuple[Axis, ...]] = ("frames", "pixels")
QUANTITIES: Final[dict[str, Callable[[Point], Reading | None]]] = {
    "operations": lambda point: point.macs_per_clip,
    "memory": lambda point: point.activation_bytes_per_clip,
    "time": lambda point: point.seconds_per_clip,
}
_BORDER: Final = 1.5
_LINEAR_UP_TO: Final = 1.1
RECURRENCE: Final = "recurrence"
_ATTENTION: Final = (
    "joint attention",
    "joint attention in a part of the network",
    "attention within frames, along time or in windows",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Exponent:
    """Of one curve.

    Attributes:
        low: Lower end of its 95 % interval, None where the fit is exact.
    """

    group: str
    model: str
    kernel: str
    axis: Axis
    quantity: str
    kind: str
    value: float
    low: float | None
    high: float | None
    worst_percent: float


@judge
def growth(claim: Claim, points: Sequence[Point]) -> Judgement:
    """Fit every curve; recurrences shall be linear, attention quadratic."""
    found = exponents(claim, points)
    return Judgement(
        findings=(
            _linear(claim.part("linear"), found),
            *(_quadratic(claim.part(f"quadratic_{name}"), found) for name in QUANTITIES),
        ),
        tables=(_table(found),),
        data=(_fits(found),),
    )


def exponents(claim: Claim, points: Sequence[Point]) -> list[Exponent]:
    """The exponent of every curve of three points or more, in the order of the claim's groups."""
    found = []
    for group, models in claim.groups.items():
        for model in models:
            own = [point for point in points if point.model == model]
            for kernel in dict.fromkeys(point.kernel for point in own):
                curve = [point for point in own if point.kernel == kernel]
                for axis in AXES:
                    for quantity in QUANTITIES:
                        one = _exponent(group, curve, axis, quantity)
                        found += [one] if one else []
    return found


def _exponent(group: str, curve: Sequence[Point], axis: Axis, quantity: str) -> Exponent | None:
    """The power law of one quantity along one axis, the other axis being at its least."""
    read = QUANTITIES[quantity]
    values: dict[float, Reading] = {}
    for point in _along(curve, axis):
        reading = read(point)
        if reading is not None:
            values[_position(point, axis)] = reading
    law = fit_power_law(list(values), [reading.value for reading in values.values()])
    if law is None:
        return None
    return Exponent(
        group=group,
        model=label_of(curve[0].model),
        kernel=curve[0].kernel,
        axis=axis,
        quantity=quantity,
        kind=kind_of(values.values()),
        value=law.exponent,
        low=law.low,
        high=law.high,
        worst_percent=law.worst_percent,
    )


def _along(curve: Sequence[Point], axis: Axis) -> list[Point]:
    other: Axis = "pixels" if axis == "frames" else "frames"
    least = min(_position(point, other) for point in curve)
    return [point for point in curve if _position(point, other) == least]


def _position(point: Point, axis: Axis) -> float:
    return float(point.num_frames if axis == "frames" else point.height_px * point.width_px)


def _linear(part: Part, found: Sequence[Exponent]) -> Finding:
    own = [one for one in found if one.group == RECURRENCE]
    if not own:
        return _missing(part)
    settings = [
        Setting(
            axes={"model": one.model, "quantity": f"{one.quantity} by {one.axis}"}, value=one.value
        )
        for one in own
    ]
    verdict, condition = verdict_of(settings, lambda exponent: exponent <= _LINEAR_UP_TO)
    steepest = max(own, key=lambda one: one.value)
    others = [one for one in found if one.group not in (RECURRENCE, *_ATTENTION)]
    return Finding(
        part=part.name,
        verdict=verdict,
        condition=condition,
        found=(
            f"{len({one.model for one in own})} models, {len(own)} curves: exponents from "
            f"{min(one.value for one in own):.2f} to {steepest.value:.2f} ({steepest.model}, "
            f"{steepest.quantity} by {steepest.axis}).{_spans(others)}"
        ),
        kind=_kinds(own),
    )


def _spans(found: Sequence[Exponent]) -> str:
    groups = dict.fromkeys(one.group for one in found)
    parts = []
    for group in groups:
        values = [one.value for one in found if one.group == group]
        parts.append(f"{group} {min(values):.2f} to {max(values):.2f}")
    return f" For comparison: {', '.join(parts)}." if parts else ""


def _quadratic(part: Part, found: Sequence[Exponent]) -> Finding:
    """A group is quadratic if the median of its models is nearer to 2 than to 1."""
    quantity = part.name.removeprefix("quadratic_")
    own = [one for one in found if one.group in _ATTENTION and one.quantity == quantity]
    if not own:
        return _missing(part)
    alike: dict[tuple[str, str, Axis], list[float]] = defaultdict(list)
    for one in own:
        kernel = one.kernel if quantity != "operations" else ""
        alike[one.group, kernel, one.axis].append(one.value)
    settings = [
        Setting(
            axes={"group": group, "kernel": kernel, "axis": f"growth in {axis}"},
            value=stats.median(values),
        )
        for (group, kernel, axis), values in alike.items()
    ]
    verdict, condition = verdict_of(settings, lambda exponent: exponent >= _BORDER)
    by_curve: dict[str, list[str]] = defaultdict(list)
    for (group, kernel, axis), values in alike.items():
        name = f"{group} with {kernel}" if kernel else group
        by_curve[name].append(f"{stats.median(values):.2f} in {axis}")
    parts = [f"{name}: {', '.join(medians)}" for name, medians in by_curve.items()]
    return Finding(
        part=part.name,
        verdict=verdict,
        condition=condition,
        found=f"Median exponents of {'; '.join(parts)}.",
        kind=_kinds(own),
    )


def _missing(part: Part) -> Finding:
    return Finding(
        part=part.name,
        verdict=Verdict.CANNOT_BE_TESTED,
        found="no curve of three points or more",
    )


def _kinds(found: Sequence[Exponent]) -> str:
    return " and ".join(sorted({kind for one in found for kind in one.kind.split(" and ")}))


def _table(found: Sequence[Exponent]) -> Table:
    """A row a model and kernel, a column an axis and quantity."""
    curves = dict.fromkeys((one.group, one.model, one.kernel) for one in found)
    by_curve = {(o.group, o.model, o.kernel, o.axis, o.quantity): o for o in found}
    columns = [
        Column(key="group", header="mixes tokens by"),
        Column(key="model", header="model"),
        Column(key="kernel", header="attention kernel"),
    ]
    columns += [
        Column(key=f"{quantity}_{axis}", header=f"{quantity} by {axis}")
        for axis in AXES
        for quantity in QUANTITIES
    ]
    rows = tuple(
        (
            text(curve[0]),
            text(curve[1]),
            text(curve[2].removeprefix("a ")),
            *(
                Cell(f"{one.value:.2f}", one.value)
                if (one := by_curve.get((*curve, axis, quantity)))
                else EMPTY
                for axis in AXES
                for quantity in QUANTITIES
            ),
        )
        for curve in curves
    )
    return Table(
        name="growth",
        title="Exponents of growth, family by family",
        columns=tuple(columns),
        rows=rows,
        note=(
            "p of b x^p; how well one power describes the points is in tables/growth_fits.csv. "
            "Operations are counted, and the same under every kernel; memory "
            f"(activations) and time are {_kinds([o for o in found if o.quantity != 'operations'])}"
        ),
    )


def _fits(found: Sequence[Exponent]) -> Table:
    columns = tuple(
        Column(key=name.replace(" ", "_"), header=header)
        for name, header in (
            ("model", "model"),
            ("kernel", "attention kernel"),
            ("axis", "by"),
            ("quantity", "quantity"),
            ("kind", "kind"),
            ("exponent", "exponent"),
            ("low", "from"),
            ("high", "to (95 %)"),
            ("worst_percent", "worst misfit (%)"),
        )
    )
    rows = tuple(
        (
            text(one.model),
            text(one.kernel.removeprefix("a ")),
            text(one.axis),
            text(one.quantity),
            text(one.kind),
            *(
                EMPTY if value is None else Cell(f"{value:.3f}", value)
                for value in (one.value, one.low, one.high)
            ),
            Cell(f"{one.worst_percent:.1f}", one.worst_percent),
        )
        for one in found
    )
    return Table(
        name="growth_fits",
        title="Every fit of growth",
        columns=columns,
        rows=rows,
    )
