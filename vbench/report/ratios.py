"""Models against each other at equal settings, and what a published ratio is made of."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import pandas as pd

from vbench.core.metrics import Kind
from vbench.report import published
from vbench.report.frame import precision_label
from vbench.report.scaling import PowerLaw, crossover, fit_power_law
from vbench.report.series import (
    Line,
    Panel,
    activation_metric,
    memory_metric,
    panels,
    throughput_metric,
)

Quantity = Literal["memory", "activations", "time"]
"""Peak memory, memory above weights and clips, and time."""
_FUSED: Final = ("sdpa", "flash", "cudnn", "efficient")


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """What a clip costs, by frames: bytes (the whole batch where that is fixed) or seconds.

    Attributes:
        bounds: 95 % interval of each cost, or None.
    """

    quantity: Quantity
    line: Line
    costs: dict[int, float]
    bounds: dict[int, tuple[float, float] | None]

    @property
    def kind(self) -> Kind:
        """Whether the costs were measured or estimated."""
        return self.line.kind


def curves(panel: Panel, quantity: Quantity) -> dict[Kind, list[Curve]]:
    """Curves of a panel by kind, so that no measured cost meets an estimated one."""
    return {
        kind: [_curve(line, quantity) for line in panel.lines(metric)]
        for kind, metric in _metrics(panel, quantity).items()
    }


def _metrics(panel: Panel, quantity: Quantity) -> dict[Kind, str]:
    if quantity == "time":
        return throughput_metric(panel.metrics)
    choose = memory_metric if quantity == "memory" else activation_metric
    return choose(panel.metrics, per_clip=panel.is_auto_batch)


def _curve(line: Line, quantity: Quantity) -> Curve:
    costs, bounds = {}, {}
    for x, median, low, high in zip(line.x, line.y, line.low, line.high, strict=True):
        known = not (math.isnan(low) or math.isnan(high))
        if quantity != "time":
            costs[x], bounds[x] = median, (low, high) if known else None
        else:
            costs[x], bounds[x] = 1 / median, (1 / high, 1 / low) if known else None
    return Curve(quantity=quantity, line=line, costs=costs, bounds=bounds)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratios:
    """One curve's costs over a reference's, at the frame counts both have."""

    panel: Panel
    curve: Curve
    reference: Curve
    by_frames: dict[int, float]


def ratios(frame: pd.DataFrame, quantity: Quantity) -> list[Ratios]:
    """Every curve over the reference model's, panel by panel and kind by kind.

    The reference is VideoMamba-Ti where Figure 1's models are compared, else the first model.
    """
    found = []
    for panel in panels(frame):
        for members in curves(panel, quantity).values():
            reference = _reference(members)
            found += [
                Ratios(
                    panel=panel, curve=curve, reference=reference, by_frames=over(curve, reference)
                )
                for curve in members
                if reference is not None and curve is not reference
            ]
    return [found_one for found_one in found if found_one.by_frames]


def _reference(members: Sequence[Curve]) -> Curve | None:
    named = [curve for curve in members if curve.line.model == published.CHALLENGER]
    return next(iter([*named, *members]), None)


def over(curve: Curve, reference: Curve) -> dict[int, float]:
    """Cost ratio by frames; a cost of 0 has none."""
    return {
        x: cost / reference.costs[x]
        for x, cost in curve.costs.items()
        if reference.costs.get(x, 0.0) > 0 and cost > 0
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossing:
    """Frame count where two curves cost the same, between two that were taken.

    Attributes:
        low: Ends of what the curves' 95 % intervals allow; None where those are not known.
    """

    num_frames: float
    low: float | None
    high: float | None


def crossing(curve: Curve, reference: Curve) -> Crossing | None:
    """Where the curve begins to cost more than the reference, or the other way round."""
    ratio = over(curve, reference)
    frames = sorted(ratio)
    at = crossover(frames, [ratio[x] for x in frames])
    if at is None:
        return None
    ends = []
    for mine, others in ((0, 1), (1, 0)):
        pairs = [(curve.bounds[x], reference.bounds[x]) for x in frames]
        shifted = [a[mine] / b[others] for a, b in pairs if a is not None and b is not None]
        end = crossover(frames, shifted) if len(shifted) == len(frames) else None
        ends += [end] if end is not None else []
    known = len(ends) == 2
    return Crossing(
        num_frames=at, low=min(ends) if known else None, high=max(ends) if known else None
    )


def fit_growth(curve: Curve) -> PowerLaw | None:
    """How the cost grows with frames: memory above a fitted constant, time from nothing."""
    x, y = list(curve.costs), list(curve.costs.values())
    return fit_power_law(x, y, offset=0.0 if curve.quantity == "time" else None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One change of setting and what it multiplies the ratio by."""

    change: str
    multiplier: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Attribution:
    """TimeSformer-Ti (joint, materialised) over VideoMamba-Ti, as products of single changes.

    Attributes:
        paths: The same changes in two orders; each path's multipliers give `total`. They differ
            because a materialised matrix costs little over 197 tokens and much over all of a clip.
        corners: Ratio to VideoMamba-Ti by (scheme, kernel).
    """

    quantity: Quantity
    kind: Kind
    num_frames: int
    conditions: str
    paths: dict[str, tuple[Step, ...]]
    corners: dict[tuple[str, str], float]
    total: float


def attribution(frame: pd.DataFrame, quantity: Quantity) -> Attribution | None:
    """Take Figure 1's ratio apart at 64 frames, or at the most frames that all of it ran at.

    None unless one panel holds VideoMamba-Ti and TimeSformer-Ti divided and joint, each with a
    materialised and a fused kernel. Of several panels the one most like the figure's conditions is
    taken; for memory, which the figure took above weights and clips, its 64 frames matter more
    than measuring, for time the other way round, since an estimated time is a bound. Where all was
    taken in a plainer precision too, the step from it comes last.
    """
    found = [
        corners
        for panel in panels(frame)
        for kind, members in curves(panel, quantity).items()
        if (corners := _corners(panel, kind, members)) is not None
    ]
    if not found:
        return None
    ordered = sorted(found, key=lambda corners: _preference(corners, quantity))
    return _explain(ordered, quantity)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Corners:
    panel: Panel
    kind: Kind
    num_frames: int
    ratios: dict[tuple[str, str], float]


def _corners(panel: Panel, kind: Kind, curves_of_kind: Sequence[Curve]) -> _Corners | None:
    members = {(curve.line.model, curve.line.attention): curve for curve in curves_of_kind}
    challenger = members.get((published.CHALLENGER, "none"))
    fused = next((name for name in _FUSED if (published.BASELINE, name) in members), "")
    wanted = {
        (scheme, kernel): members.get((model, backend))
        for scheme, model in (("divided", published.DIVIDED), ("joint", published.BASELINE))
        for kernel, backend in (("fused", fused), ("materialised", "eager"))
    }
    if challenger is None:
        return None
    by_frames = {
        corner: over(curve, challenger) for corner, curve in wanted.items() if curve is not None
    }
    if len(by_frames) < len(wanted):
        return None
    common = set.intersection(*(set(ratio) for ratio in by_frames.values()))
    if not common:
        return None
    at = published.CLAIM_FRAMES if published.CLAIM_FRAMES in common else max(common)
    return _Corners(
        panel=panel,
        kind=kind,
        num_frames=at,
        ratios={corner: ratio[at] for corner, ratio in by_frames.items()},
    )


def _preference(corners: _Corners, quantity: Quantity) -> tuple[bool | int, ...]:
    row = corners.panel.rows.iloc[0]
    like_published = (row["mode"] == "inference", not row["compile"])
    at_claim, is_measured = corners.num_frames == published.CLAIM_FRAMES, corners.kind == "measured"
    first = (is_measured, at_claim) if quantity == "time" else (at_claim, is_measured)
    precision = (bool(row["autocast"]), row["precision"] == "bf16")
    largest = corners.panel.rows["batch_size"].max()
    return (*like_published, *first, *precision, corners.num_frames, int(largest))


def _explain(ordered: Sequence[_Corners], quantity: Quantity) -> Attribution:
    """Start from the plainest precision and end at the one the figure was made in."""
    last = ordered[-1]
    first = next((one for one in ordered if _differ_in_precision(one, last)), last)
    start, total = first.ratios, last.ratios["joint", "materialised"]
    ends = []
    if first is not last:
        change = f"{_precision(first.panel)} -> {_precision(last.panel)}"
        ends = [Step(change=change, multiplier=total / start["joint", "materialised"])]
    model = Step(
        change="VideoMamba-Ti -> TimeSformer-Ti, divided, fused",
        multiplier=start["divided", "fused"],
    )
    return Attribution(
        quantity=quantity,
        kind=last.kind,
        num_frames=last.num_frames,
        conditions=last.panel.conditions,
        paths={
            "scheme, then kernel": (model, *_path(start, ("joint", "fused")), *ends),
            "kernel, then scheme": (model, *_path(start, ("divided", "materialised")), *ends),
        },
        corners=last.ratios,
        total=total,
    )


def _path(start: dict[tuple[str, str], float], through: tuple[str, str]) -> list[Step]:
    """From divided and fused to joint and materialised by way of one of the other corners."""
    scheme = "divided -> joint attention"
    kernel = "fused -> materialised kernel"
    changes = [f"{scheme} (fused)", f"{kernel} (joint)"]
    if through == ("divided", "materialised"):
        changes = [f"{kernel} (divided)", f"{scheme} (materialised)"]
    corners = [("divided", "fused"), through, ("joint", "materialised")]
    return [
        Step(change=change, multiplier=start[after] / start[before])
        for change, before, after in zip(changes, corners, corners[1:], strict=False)
    ]


def _precision(panel: Panel) -> str:
    row = panel.rows.iloc[0]
    return precision_label(row["precision"], row["autocast"])


def _differ_in_precision(one: _Corners, other: _Corners) -> bool:
    same = ["place", "mode", "compile", "cudagraph", "height_px", "width_px", "batch"]
    rows = one.panel.rows.iloc[0], other.panel.rows.iloc[0]
    return (
        one is not other
        and (one.kind, one.num_frames) == (other.kind, other.num_frames)
        and bool((rows[0][same] == rows[1][same]).all())
    )
