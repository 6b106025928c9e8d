"""Accuracies as tables: what each bought, at which cost, by which protocol."""

import math
from collections.abc import Iterable, Sequence
from typing import Final

from vbench.core.evaluations import PublishedPoint, Score, VideoCost
from vbench.core.units import Scale, number, plain, scale_for
from vbench.report.accuracy.found import (
    AS_IS,
    Evaluation,
    comparable,
    conditions,
    metric_name,
)
from vbench.report.tables import EMPTY, Cell, Column, Table, from_headers, integer, text

_NOTE: Final = (
    "A row a head and metric, of the videos that could be read. The baseline always answers the "
    "commonest class; of a direction it is what a model gives that does not see the order of "
    "frames. MACs, time and energy are those of all views of one video, decoding left out"
)
_CONTROLS: Final = (
    ". Controls score the same videos with their frames shuffled, played backwards (and the class "
    "with them, where it has a reversal), or the middle one repeated: what stays when shuffled or "
    "static is not owed to time"
)
_COSTS: Final[tuple[tuple[str, str, str, str], ...]] = (
    ("latency_per_video_s", "latency a video", "s", "measured"),
    ("energy_per_video_j", "energy a video", "J", "measured"),
    ("macs_per_video", "MACs x views", "", "counted"),
)


def accuracy_table(found: Sequence[Evaluation]) -> Table:
    """The main table: by dataset, head and metric, the best first."""
    controls = conditions(found)
    scales = {name: scale_for(unit, _costs(found, name)) for name, _, unit, _ in _COSTS}
    rows = [
        _row(one, score, controls, scales)
        for one, score in ranked((one, score) for one in found for score in one.main_scores())
    ]
    measured = [("score", "score"), ("interval", "95 % interval")]
    measured += [(f"score_{name}", plain(name)) for name in controls]
    columns = [Column(key=key, header=key) for key in _NAMES]
    columns += [Column(key=key, header=header, group="measured") for key, header in measured]
    columns += [
        Column(key=name, header=_with_unit(header, scales[name]), group=group)
        for name, header, _, group in _COSTS
    ]
    columns += [
        Column(key="baseline", header="baseline", group="counted"),
        Column(key="published", header="top-1", group="published"),
    ]
    columns += [Column(key=key, header=key) for key in ("protocol", "checkpoint", "date", "device")]
    return Table(
        name="accuracy",
        title="Accuracy",
        columns=tuple(columns),
        rows=tuple(rows),
        note=_NOTE + (_CONTROLS if controls else ""),
    )


_NAMES: Final = ("model", "family", "dataset", "head", "metric", "videos")


def ranked(pairs: Iterable[tuple[Evaluation, Score]]) -> list[tuple[Evaluation, Score]]:
    """By dataset, head and metric in the order met; the best first, of equals the cheapest."""
    listed = list(pairs)
    met = dict.fromkeys((one.dataset, score.head, score.metric) for one, score in listed)
    datasets = list(dict.fromkeys(dataset for dataset, _, _ in met))
    places = sorted(met, key=lambda key: datasets.index(key[0]))

    def place(pair: tuple[Evaluation, Score]) -> tuple[int, float, float]:
        one, score = pair
        worse = score.value if score.metric == "mse" else -score.value
        place_of = places.index((one.dataset, score.head, score.metric))
        return place_of, worse, one.macs or math.inf

    return sorted(listed, key=place)


def _row(
    one: Evaluation, score: Score, controls: Sequence[str], scales: dict[str, Scale]
) -> tuple[Cell, ...]:
    spec, cost = one.summary.spec, one.summary.cost
    printed = one.summary.published if score.metric == "top1" else ()
    sha256 = f" ({spec.checkpoint_sha256[:12]})" if spec.checkpoint_sha256 else ""
    return (
        text(one.model),
        text(one.family),
        text(one.dataset),
        text(plain(score.head)),
        text(metric_name(score.metric)),
        integer(score.num_videos),
        Cell(shown(score.metric, score.value), score.value),
        _interval(score),
        *(_with_interval(one.under(name, score)) for name in controls),
        *(_cost(cost, name, scales[name]) for name, _, _, _ in _COSTS),
        _of_baseline(score),
        text("; ".join(plain(f"{row.printed} ({row.source})") for row in printed)),
        text(protocol_words(one)),
        text(plain(f"{spec.checkpoint}{sha256}") if spec.checkpoint else "random weights"),
        text(plain(one.summary.evaluated_at_utc or "")[:10]),
        text(f"{one.device}, {spec.precision}"),
    )


def protocol_words(one: Evaluation) -> str:
    """Name, clip and views of how it was tested."""
    protocol = one.summary.spec.protocol
    clip = f"{protocol.num_frames}x{protocol.spatial.crop_px}"
    counts = ((protocol.num_clips, "clip"), (protocol.spatial.num_crops, "crop"))
    views = " x ".join(f"{count} {word}{'s' if count > 1 else ''}" for count, word in counts)
    return plain(f"{protocol.name}: {clip}, {views}")


def shown(metric: str, value: float) -> str:
    """A score as a reader wants it: a share in percent, an error as it is."""
    return number(value) if metric == "mse" else f"{100 * value:.1f} %"


def interval_words(score: Score) -> str:
    """Its 95 % interval, in the unit of the score."""
    low, high = score.interval.low, score.interval.high
    if score.metric == "mse":
        return f"{number(low)} to {number(high)}"
    return f"{100 * low:.1f} to {100 * high:.1f}"


def _interval(score: Score) -> Cell:
    return Cell(interval_words(score), f"{score.interval.low:.6g} to {score.interval.high:.6g}")


def _with_interval(score: Score | None) -> Cell:
    if score is None:
        return EMPTY
    return Cell(f"{shown(score.metric, score.value)} [{interval_words(score)}]", score.value)


def _of_baseline(score: Score) -> Cell:
    if score.baseline is None:
        return EMPTY
    return Cell(shown(score.metric, score.baseline), score.baseline)


def _costs(found: Iterable[Evaluation], name: str) -> list[float]:
    costs = (one.summary.cost for one in found)
    values = (getattr(cost, name) for cost in costs if cost is not None)
    return [value for value in values if value is not None]


def _cost(cost: VideoCost | None, name: str, scale: Scale) -> Cell:
    value = None if cost is None else getattr(cost, name)
    if cost is None or value is None:
        return EMPTY
    is_time = name == "latency_per_video_s"
    low, high = cost.latency_per_video_low_s, cost.latency_per_video_high_s
    return Cell(scale.interval(value, low, high) if is_time else scale.number(value), value)


def _with_unit(header: str, scale: Scale) -> str:
    return f"{header} ({scale.unit})" if scale.unit else header


def scores_table(found: Sequence[Evaluation]) -> Table:
    """Every score that the main table does not show as it stands."""
    headers = (
        *("model", "dataset", "head", "metric", "videos", "clips", "n"),
        *("score", "low", "high", "baseline", "interval by"),
    )
    rest = [
        (one, score)
        for one in found
        for score in one.summary.scores
        if score not in one.main_scores()
    ]
    rows = [
        (
            text(one.model),
            text(one.dataset),
            text(plain(score.head)),
            text(metric_name(score.metric)),
            text(plain(score.videos)),
            text(plain(score.condition) if score.condition != AS_IS else "as is"),
            integer(score.num_videos),
            Cell(shown(score.metric, score.value), score.value),
            Cell(shown(score.metric, score.interval.low), score.interval.low),
            Cell(shown(score.metric, score.interval.high), score.interval.high),
            _of_baseline(score),
            text(plain(score.interval.method)),
        )
        for one, score in rest
    ]
    return from_headers("scores", "All other scores", headers, rows)


def published_table(found: Sequence[Evaluation], published: Iterable[PublishedPoint]) -> Table:
    """The published points that the figure shows."""
    headers = ("model", "dataset", "frames", "pixels", "clips", "crops")
    columns = [Column(key=name, header=name) for name in headers]
    columns += [
        Column(key="top1", header="top-1", group="published"),
        Column(key="macs_per_video", header="MACs x views (G)", group="published"),
        Column(key="source", header="source"),
    ]
    rows = [
        (
            text(plain(point.model)),
            text(plain(f"{point.dataset} {point.head}".strip())),
            integer(point.num_frames),
            integer(point.size_px),
            integer(point.num_clips),
            integer(point.num_crops),
            Cell(shown("top1", point.top1), point.top1),
            Cell(number(point.macs_per_video / 1e9), point.macs_per_video),
            text(plain(point.source)),
        )
        for point in comparable(found, published)
    ]
    return Table(
        name="published",
        title="Published under the same protocols",
        columns=tuple(columns),
        rows=tuple(rows),
        note="As printed: what papers call FLOPs is taken as multiply-accumulates, times views",
    )
