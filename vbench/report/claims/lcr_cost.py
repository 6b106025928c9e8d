"""LCR's printed size and cost, and the input that its table's TimeSformer must have had."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from vbench.core.claims import Claim, Part
from vbench.core.units import number
from vbench.report.claims import Finding, Judgement, Verdict, judge
from vbench.report.claims.points import Point, Reading
from vbench.report.claims.settings import Setting, verdict_of
from vbench.report.tables import Cell, Column, Table, text

_MOST_TIMES: Final = 12
_SHOWN: Final = 8


@judge
def lcr_cost(claim: Claim, points: Sequence[Point]) -> Judgement:
    """Count both models at the inputs they may have had."""
    own = [point for point in points if point.model in claim.groups["lcr"]]
    rival = [point for point in points if point.model in claim.groups["timesformer"]]
    operations, timesformer = claim.part("operations"), claim.part("timesformer")
    candidates = list(_candidates(claim, rival))
    return Judgement(
        findings=(
            _parameters(claim.part("parameters"), own),
            _operations(operations, own),
            _timesformer(timesformer, candidates),
        ),
        tables=(_own_table(operations, own), _rival_table(timesformer, candidates)),
    )


def _matches(part: Part, value: float) -> bool:
    """Whether `value` is printed as the part's number is."""
    unit, decimals = part.claimed["unit"], int(part.claimed["decimals"])
    return f"{value / unit:.{decimals}f}" == f"{part.claimed['value'] / unit:.{decimals}f}"


def _missing(part: Part, model: str) -> Finding:
    return Finding(
        part=part.name,
        verdict=Verdict.CANNOT_BE_TESTED,
        found=f"no point of {model} finished",
    )


def _parameters(part: Part, points: Sequence[Point]) -> Finding:
    found: Reading | None = next(
        (point.metrics["params"] for point in points if "params" in point.metrics), None
    )
    if found is None:
        return _missing(part, "LCR")
    is_same = _matches(part, found.value)
    return Finding(
        part=part.name,
        verdict=Verdict.HOLDS_ONLY_IF if is_same else Verdict.DOES_NOT_HOLD,
        condition="the sizes inferred for the reconstruction are the authors'" if is_same else "",
        found=(
            f"The reconstruction has {found.value:,.0f} parameters; its width and depth were "
            "inferred from this number, so it is no evidence for it."
        ),
        kind="counted",
    )


def _operations(part: Part, points: Sequence[Point]) -> Finding:
    counted = [(point, reading.value) for point in points if (reading := point.macs_per_clip)]
    if not counted:
        return _missing(part, "LCR")
    settings = [
        Setting(axes={"input": f"an input of {point.size}"}, value=macs) for point, macs in counted
    ]
    verdict, condition = verdict_of(settings, lambda macs: _matches(part, macs))
    ordered = sorted(counted, key=lambda pair: pair[1])
    low, high = ordered[0], ordered[-1]
    return Finding(
        part=part.name,
        verdict=verdict,
        condition=condition,
        found=(
            f"From {number(low[1] / 1e9)} G MACs at {low[0].size} to {number(high[1] / 1e9)} G at "
            f"{high[0].size}; the source states no input."
        ),
        kind="counted",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One reading of what may have been counted: some times one view's multiply-accumulates."""

    view: str
    multiplier: int
    value: float

    @property
    def words(self) -> str:
        """What it is the count of."""
        return self.view if self.multiplier == 1 else f"{self.multiplier} times {self.view}"


def _candidates(claim: Claim, points: Sequence[Point]) -> Iterator[Candidate]:
    """Multiples of every counted view, and of what was printed for one."""
    views = {
        f"one view of {point.model} at {point.size}": reading.value
        for point in points
        if (reading := point.macs_per_clip)
    }
    for one in claim.published if points else ():
        if one.printed_gmacs is not None:
            where = f"{one.model} at {one.num_frames} x {one.size_px}"
            views[f"the {one.printed_gmacs:g} G printed for {where}"] = one.printed_gmacs * 1e9
    for view, macs in views.items():
        for multiplier in range(1, _MOST_TIMES + 1):
            yield Candidate(view=view, multiplier=multiplier, value=macs * multiplier)


def _timesformer(part: Part, candidates: Sequence[Candidate]) -> Finding:
    if not candidates:
        return _missing(part, "TimeSformer")
    matching = [one for one in candidates if _matches(part, one.value)]
    single = _nearest(part, [one for one in candidates if one.multiplier == 1])[0]
    return Finding(
        part=part.name,
        verdict=Verdict.HOLDS_ONLY_IF if matching else Verdict.DOES_NOT_HOLD,
        condition=f"it is {' or '.join(one.words for one in matching)}" if matching else "",
        found=(
            f"{len(matching)} of {len(candidates)} readings print so. One view alone comes no "
            f"nearer than {single.view}: {_tera(part, single)} T."
        ),
        kind="counted",
    )


def _nearest(part: Part, candidates: Sequence[Candidate]) -> list[Candidate]:
    wanted = part.claimed["value"]
    return sorted(candidates, key=lambda one: abs(one.value / wanted - 1))


def _tera(part: Part, candidate: Candidate) -> str:
    return f"{candidate.value / 1e12:.{int(part.claimed['decimals']) + 1}f}"


def _own_table(part: Part, points: Sequence[Point]) -> Table:
    columns = (
        Column(key="input", header="input"),
        Column(key="macs", header="MACs (G)", group="counted"),
        Column(key="matches", header="printed as 0.022 T"),
    )
    rows = tuple(
        (
            text(point.size),
            Cell(number(reading.value / 1e9), reading.value),
            text("yes" if _matches(part, reading.value) else "no"),
        )
        for point in points
        if (reading := point.macs_per_clip)
    )
    return Table(
        name="lcr_operations", title="LCR's operations by input", columns=columns, rows=rows
    )


def _rival_table(part: Part, candidates: Sequence[Candidate]) -> Table:
    columns = (
        Column(key="reading", header="what may have been counted"),
        Column(key="value", header="count (T)", group="counted"),
        Column(key="off_percent", header="off the printed 1.568 T (%)", group="counted"),
    )
    rows = tuple(
        (
            text(one.words),
            Cell(_tera(part, one), one.value),
            Cell(f"{off:+.2f}", off),
        )
        for one in _nearest(part, candidates)[:_SHOWN]
        for off in (100 * (one.value / part.claimed["value"] - 1),)
    )
    return Table(
        name="lcr_timesformer",
        title="What comes nearest to TimeSformer's 1.568 TFLOPs",
        columns=columns,
        rows=rows,
        note=(
            "Multiples may be views, or 2 operations a multiply-accumulate. Many readings were "
            "tried, so one that agrees by chance is no surprise"
        ),
    )
