"""VideoMamba's 6x and 40x: TimeSformer-Ti over VideoMamba-Ti under each setting."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

from vbench.core.claims import Claim, Part
from vbench.core.units import number, times
from vbench.report import published
from vbench.report.claims import Finding, Judgement, Verdict, judge
from vbench.report.claims.points import FUSED, MATERIALISED, Point, Reading, kind_of
from vbench.report.claims.settings import Setting, least_that_rounds_to, verdict_of
from vbench.report.tables import EMPTY, Cell, Table, from_headers, text

_SCHEMES: Final = {
    published.BASELINE: "joint attention",
    published.DIVIDED: "divided attention",
}
_LARGER: Final = {
    "timesformer_base_joint": "joint attention",
    "timesformer_base": "divided attention",
}
_AS_PUBLISHED: Final = {
    "scheme": "joint attention",
    "kernel": MATERIALISED,
    "mode": "inference",
    "precision": "bf16 autocast",
}
_COLUMNS: Final = {"memory": "memory_gib", "time": "clips_per_s"}
_QUANTITIES: Final[dict[str, tuple[str, Callable[[Point], Reading | None]]]] = {
    "memory": ("activation memory", lambda point: point.activation_bytes_per_clip),
    "time": ("time a clip", lambda point: point.seconds_per_clip),
}


@judge
def figure1(claim: Claim, points: Sequence[Point]) -> Judgement:
    """Hold the rivals against VideoMamba-Ti at the frames of the claim, setting by setting."""
    findings, rows = [], []
    for name in _QUANTITIES:
        part = claim.part(name)
        pairs = list(_pairs(points, name, int(part.claimed["num_frames"])))
        findings.append(_finding(part, pairs))
        rows += [_row(part, *pair) for pair in pairs]
    return Judgement(findings=tuple(findings), tables=(_table(rows),))


Pair = tuple[Point, Reading, Reading]
"""A rival's point, its cost, and VideoMamba-Ti's under the same conditions."""


def _pairs(points: Sequence[Point], name: str, num_frames: int) -> Iterator[Pair]:
    read = _QUANTITIES[name][1]
    at = [point for point in points if point.num_frames == num_frames]
    own = {
        (_conditions(point), reading.kind): reading
        for point in at
        if point.model == published.CHALLENGER and (reading := read(point)) is not None
    }
    for point in at:
        reading = read(point)
        if reading is None or point.model not in _SCHEMES | _LARGER:
            continue
        reference = own.get((_conditions(point), reading.kind))
        if reference is not None:
            yield point, reading, reference


def _conditions(point: Point) -> tuple[object, ...]:
    return point.mode, point.precision, point.size, point.batch_size


def _finding(part: Part, pairs: Sequence[Pair]) -> Finding:
    own_size = [pair for pair in pairs if pair[0].model in _SCHEMES]
    settings = [Setting(axes=_axes(p), value=a.value / b.value) for p, a, b in own_size]
    published_one = next((one for one in settings if one.axes == _AS_PUBLISHED), None)
    if published_one is None:
        return Finding(
            part=part.name,
            verdict=Verdict.CANNOT_BE_TESTED,
            found="no point of the published setting finished",
        )
    least = least_that_rounds_to(part.claimed["times"])
    larger = [pair for pair in pairs if pair[0].model in _LARGER]
    kind = kind_of(reading for _, reading, _ in own_size)
    verdict, condition = verdict_of(settings, lambda ratio: ratio >= least)
    return Finding(
        part=part.name,
        verdict=verdict,
        condition=condition,
        found=_words(part, settings, published_one.value, larger, kind=kind),
        kind=kind,
    )


def _axes(point: Point) -> dict[str, str]:
    return {
        "scheme": _SCHEMES[point.model],
        "kernel": point.kernel,
        "mode": point.mode,
        "precision": point.precision,
    }


def _words(
    part: Part,
    settings: Sequence[Setting],
    as_published: float,
    larger: Sequence[Pair],
    *,
    kind: str,
) -> str:
    quantity = _QUANTITIES[part.name][0]
    fused = _range(settings, "kernel", FUSED)
    divided = _range(settings, "scheme", "divided attention")
    printed = times(published.published_ratio(_COLUMNS[part.name]))
    said = (
        f"In the published setting TimeSformer-Ti's {quantity} is {times(as_published)} times "
        f"VideoMamba-Ti's at {part.claimed['num_frames']:.0f} frames, by the points of the figure "
        f"{printed} times"
    )
    if fused:
        said += f"; with a fused kernel {fused} times"
    if divided:
        said += f"; with its own divided attention {divided} times"
    base = [
        f"{times(cost.value / own.value)} ({point.kernel.removeprefix('a ')})"
        for point, cost, own in larger
        if point.model == "timesformer_base"
    ]
    if base:
        said += f". TimeSformer-B's with divided attention is {' or '.join(base)} times as much"
    if part.name == "time" and kind != "measured":
        said += ". Estimated times are bounds, so a ratio of two of them bounds nothing"
    return f"{said}."


def _range(settings: Sequence[Setting], axis: str, value: str) -> str:
    ratios = [one.value for one in settings if one.axes[axis] == value]
    if not ratios:
        return ""
    low, high = times(min(ratios)), times(max(ratios))
    return low if low == high else f"{low} to {high}"


def _row(part: Part, point: Point, cost: Reading, own: Reading) -> tuple[Cell, ...]:
    ratio = cost.value / own.value
    is_like = point.model in _SCHEMES and _axes(point) == _AS_PUBLISHED
    claimed = part.claimed["times"]
    return (
        text(_QUANTITIES[part.name][0]),
        text("TimeSformer-Ti" if point.model in _SCHEMES else "TimeSformer-B"),
        text((_SCHEMES | _LARGER)[point.model]),
        text(point.kernel.removeprefix("a ")),
        text(point.mode),
        text(point.precision),
        Cell(number(ratio), ratio),
        text("yes" if ratio >= least_that_rounds_to(claimed) else "no"),
        Cell(times(claimed), claimed) if is_like else EMPTY,
        text(cost.kind),
    )


def _table(rows: Sequence[tuple[Cell, ...]]) -> Table:
    return from_headers(
        "figure1_settings",
        "TimeSformer's cost over VideoMamba-Ti's at 64 frames, by setting",
        (
            "quantity",
            "rival",
            "attention",
            "kernel",
            "mode",
            "precision",
            "times",
            "as claimed",
            "published",
            "kind",
        ),
        rows,
        note=(
            "Activation memory leaves out weights and input clips, as the published growth of "
            "reserved memory does. A ratio of two estimated times is one of bounds by roofline, "
            "which flatters the model whose real kernels are further from it. A claim holds where "
            "the ratio rounds to what was printed, or more"
        ),
    )
