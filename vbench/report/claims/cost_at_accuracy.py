"""A model's counted cost beside that of rivals, at printed accuracies that may be compared."""

from collections.abc import Iterator, Sequence
from typing import Final

from vbench.core.claims import Claim, Part, PublishedPoint
from vbench.core.units import number, times
from vbench.report.claims import Finding, Judgement, Verdict, judge
from vbench.report.claims.points import Point, label_of
from vbench.report.claims.settings import Setting, verdict_of
from vbench.report.tables import EMPTY, Cell, Column, Table, text

_LAST_DIGIT: Final = 0.1  # of a printed accuracy: less than half of it is not told apart


@judge
def cost_at_accuracy(claim: Claim, points: Sequence[Point]) -> Judgement:
    """Set the cheapest version of the challenger that reaches a rival's accuracy against it."""
    counted = {
        one: macs * one.num_views
        for one in claim.published
        if (macs := _macs(points, one)) is not None
    }
    findings = [_finding(claim, part, counted) for part in claim.parts]
    return Judgement(findings=tuple(findings), tables=(_table(claim, points),))


def _macs(points: Sequence[Point], printed: PublishedPoint) -> float | None:
    """Multiply-accumulates of one view of a printed accuracy."""
    wanted = (printed.model, printed.num_frames, printed.size_px, printed.size_px)
    for point in points:
        if (point.model, point.num_frames, point.height_px, point.width_px) == wanted:
            reading = point.macs_per_clip
            return None if reading is None else reading.value
    return None


Match = tuple[PublishedPoint, PublishedPoint]
"""A rival's printed accuracy, and the cheapest of the challenger's that compares with it."""


def _matches(claim: Claim, part: Part, counted: dict[PublishedPoint, float]) -> Iterator[Match]:
    """Each rival with the challenger under each of its pretrainings."""
    own = [one for one in counted if one.model in claim.groups["challenger"]]
    for rival in (one for one in counted if one.model in claim.groups[part.name]):
        least = rival.top1_percent - part.claimed["points_below"] - _LAST_DIGIT / 2
        for pretraining in dict.fromkeys(one.pretraining for one in own):
            reached = [
                one for one in own if one.pretraining == pretraining and one.top1_percent >= least
            ]
            if reached:
                yield rival, min(reached, key=lambda one: counted[one])


def _finding(claim: Claim, part: Part, counted: dict[PublishedPoint, float]) -> Finding:
    needed = (*claim.groups["challenger"], *claim.groups[part.name])
    missing = [one for one in claim.published if one.model in needed and one not in counted]
    matches = list(_matches(claim, part, counted))
    if missing or not matches:
        names = ", ".join(f"{label_of(one.model)} at {one.num_frames} frames" for one in missing)
        return Finding(
            part=part.name,
            verdict=Verdict.CANNOT_BE_TESTED,
            found=f"not counted: {names}" if missing else "no printed accuracy reaches the rival's",
        )
    settings = [
        Setting(
            axes={
                "rival": f"{label_of(rival.model)} at {rival.num_frames} x {rival.size_px}",
                "pretraining": f"pretraining on {own.pretraining}",
            },
            value=counted[rival] / counted[own],
        )
        for rival, own in matches
    ]
    least = part.claimed["at_least_times_less"]
    verdict, condition = verdict_of(settings, lambda ratio: ratio >= least)
    return Finding(
        part=part.name,
        verdict=verdict,
        condition=condition,
        found=" ".join(_sentence(rival, own, counted) for rival, own in matches),
        kind="counted",
    )


def _sentence(
    rival: PublishedPoint, own: PublishedPoint, counted: dict[PublishedPoint, float]
) -> str:
    ratio = counted[rival] / counted[own]
    how = f"{times(ratio)} times less" if ratio >= 1 else f"{times(1 / ratio)} times more"
    return (
        f"{label_of(own.model)} ({own.pretraining}) at {own.num_frames} frames, "
        f"{own.top1_percent} %: {number(counted[own] / 1e12)} T MACs a video, {how} than "
        f"{label_of(rival.model)} at {rival.num_frames} x {rival.size_px}, "
        f"{rival.top1_percent} %: {number(counted[rival] / 1e12)} T."
    )


def _table(claim: Claim, points: Sequence[Point]) -> Table:
    columns = (
        Column(key="model", header="model"),
        Column(key="pretraining", header="pretraining"),
        Column(key="input", header="input"),
        Column(key="views", header="views"),
        Column(key="macs_per_view", header="MACs a view (G)", group="counted"),
        Column(key="macs_per_video", header="MACs a video (T)", group="counted"),
        Column(key="top1_percent", header="top-1 (%)", group="published"),
        Column(key="printed_gmacs", header="GFLOPs a view", group="published"),
        Column(key="source", header="source"),
        Column(key="note", header="note"),
    )
    return Table(
        name="cost_at_accuracy",
        title="Printed accuracy on Kinetics-400 beside counted cost",
        columns=columns,
        rows=tuple(_row(one, _macs(points, one)) for one in claim.published),
        note="A video's cost is that of all the views its accuracy was printed for",
    )


def _row(printed: PublishedPoint, macs: float | None) -> tuple[Cell, ...]:
    per_video = None if macs is None else macs * printed.num_views
    return (
        text(label_of(printed.model)),
        text(printed.pretraining),
        text(f"{printed.num_frames} x {printed.size_px}"),
        Cell(f"{printed.num_views}", printed.num_views),
        EMPTY if macs is None else Cell(number(macs / 1e9), macs),
        EMPTY if per_video is None else Cell(number(per_video / 1e12), per_video),
        Cell(f"{printed.top1_percent:.1f}", printed.top1_percent),
        EMPTY
        if printed.printed_gmacs is None
        else Cell(number(printed.printed_gmacs), printed.printed_gmacs),
        text(printed.source),
        text(printed.note),
    )
