"""What freezing a backbone saves in training: the batch that fits, and time a clip."""

from collections.abc import Sequence

from vbench.core.claims import Claim, Part
from vbench.core.units import number, times
from vbench.report.claims import Finding, Judgement, Verdict, judge
from vbench.report.claims.points import Point, Reading, kind_of, label_of
from vbench.report.claims.settings import Setting, least_that_rounds_to, verdict_of
from vbench.report.tables import EMPTY, Cell, Column, Table, text

_AUTO = "auto"


@judge
def frozen_backbone(claim: Claim, points: Sequence[Point]) -> Judgement:
    """Compare the frozen network with the same one trained whole, attention kernel by kernel."""
    training = [point for point in points if point.mode == "training"]
    batch, time = claim.part("batch"), claim.part("time")
    return Judgement(
        findings=(_batch(claim, batch, training), _time(claim, time, training)),
        tables=(_table(training),),
    )


def _pairs(claim: Claim, points: Sequence[Point], batch: str) -> list[tuple[Point, Point]]:
    """Frozen and whole under the same kernel, with batches of one sort."""
    of_sort = [point for point in points if (point.batch == _AUTO) == (batch == _AUTO)]
    whole = {point.kernel: point for point in of_sort if point.model in claim.groups["whole"]}
    return [
        (point, whole[point.kernel])
        for point in of_sort
        if point.model in claim.groups["frozen"] and point.kernel in whole
    ]


def _missing(part: Part) -> Finding:
    return Finding(
        part=part.name,
        verdict=Verdict.CANNOT_BE_TESTED,
        found="frozen and whole have no point in common",
    )


def _batch(claim: Claim, part: Part, points: Sequence[Point]) -> Finding:
    """The largest powers of two that fit are compared, as batches are chosen."""
    pairs = _pairs(claim, points, _AUTO)
    if not pairs:
        return _missing(part)
    claimed = part.claimed["frozen"] / part.claimed["whole"]
    settings = [
        Setting(
            axes={"kernel": frozen.kernel},
            value=power_of_two(frozen.batch_size) / power_of_two(whole.batch_size),
        )
        for frozen, whole in pairs
    ]
    verdict, condition = verdict_of(settings, lambda ratio: ratio >= claimed)
    said = "; ".join(
        f"with {frozen.kernel} {frozen.batch_size} clips fit frozen and {whole.batch_size} whole, "
        f"or {power_of_two(frozen.batch_size)} and {power_of_two(whole.batch_size)} in powers of "
        "two"
        for frozen, whole in pairs
    )
    return Finding(
        part=part.name,
        verdict=verdict,
        condition=condition,
        found=f"{said[:1].upper()}{said[1:]}.",
        kind="estimated",
    )


def power_of_two(batch_size: int) -> int:
    """The largest power of two that is no larger.

    >>> power_of_two(117), power_of_two(8)
    (64, 8)
    """
    return 1 << (batch_size.bit_length() - 1)


def _time(claim: Claim, part: Part, points: Sequence[Point]) -> Finding:
    """Each at its largest batch and both at the same one; measured ratios stand alone."""
    settings: list[Setting] = []
    readings: list[Reading] = []
    for sort, words in ((_AUTO, "each at its largest batch"), ("", "both at a batch of 8")):
        for frozen, whole in _pairs(claim, points, sort):
            mine, other = frozen.seconds_per_clip, whole.seconds_per_clip
            if mine is not None and other is not None and mine.kind == other.kind:
                axes = {"kernel": frozen.kernel, "batch": words}
                settings.append(Setting(axes=axes, value=other.value / mine.value))
                readings.append(mine)
    if any(reading.kind == "measured" for reading in readings):
        chosen = [i for i, reading in enumerate(readings) if reading.kind == "measured"]
        settings, readings = [settings[i] for i in chosen], [readings[i] for i in chosen]
    if not settings:
        return _missing(part)
    least = least_that_rounds_to(part.claimed["least_times"])
    verdict, condition = verdict_of(settings, lambda ratio: ratio >= least)
    ratios = ", ".join(
        f"{times(one.value)} ({one.axes['kernel'].removeprefix('a ')}, {one.axes['batch']})"
        for one in settings
    )
    return Finding(
        part=part.name,
        verdict=verdict,
        condition=condition,
        found=f"A clip's training step takes {ratios} times less{_arithmetic(claim, points)}.",
        kind=kind_of(readings),
    )


def _arithmetic(claim: Claim, points: Sequence[Point]) -> str:
    """What the operations alone would give."""
    for frozen, whole in _pairs(claim, points, ""):
        mine, other = frozen.macs_per_clip, whole.macs_per_clip
        if mine is not None and other is not None:
            return f"; it does {times(other.value / mine.value)} times fewer multiply-accumulates"
    return ""


def _table(points: Sequence[Point]) -> Table:
    columns = (
        Column(key="model", header="model"),
        Column(key="attention", header="attention"),
        Column(key="batch", header="batch"),
        Column(key="seconds_per_clip_measured", header="time a clip (ms)", group="measured"),
        Column(key="seconds_per_clip_estimated", header="time a clip (ms)", group="estimated"),
        Column(key="peak_bytes_estimated", header="peak memory (GiB)", group="estimated"),
        Column(key="macs_per_clip", header="MACs a clip and step (G)", group="counted"),
        Column(key="trainable_params", header="parameters trained (M)", group="counted"),
    )
    return Table(
        name="frozen_backbone",
        title="Training EVL-B/16 on 8 frames, frozen and whole",
        columns=columns,
        rows=tuple(_row(point) for point in points),
        note=(
            "Training step: forward, cross-entropy, backward, AdamW. An estimated time is a bound "
            "by roofline. (auto): the largest batch that fits 16 GB less 3 % by estimate"
        ),
    )


def _row(point: Point) -> tuple[Cell, ...]:
    time = point.seconds_per_clip
    auto = " (auto)" if point.batch == _AUTO else ""
    return (
        text(label_of(point.model)),
        text(point.attention),
        Cell(f"{point.batch_size}{auto}", point.batch_size),
        *(
            Cell(number(time.value * 1e3), time.value)
            if time is not None and time.kind == kind
            else EMPTY
            for kind in ("measured", "estimated")
        ),
        _cell(point.metrics.get("estimated_peak_bytes"), 2.0**30),
        _cell(point.macs_per_clip, 1e9),
        _cell(point.metrics.get("trainable_params"), 1e6),
    )


def _cell(reading: Reading | None, size: float) -> Cell:
    return EMPTY if reading is None else Cell(number(reading.value / size), reading.value)
