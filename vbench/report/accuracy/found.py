"""Evaluations as a report takes them, and the published points that may stand beside them."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd

from vbench.core import evaluations, store
from vbench.core.evaluations import PublishedPoint, Score, Summary
from vbench.core.units import plain
from vbench.report.provenance import Run

AS_IS: Final = ""
DECODED: Final = "decoded"
MAIN: Final = ("top1", "direction", "mse")
"""Metrics of the main table; all others follow in a second one."""

METRICS: Final = {
    "top1": "top-1",
    "top5": "top-5",
    "top1_one_view": "top-1, one view",
    "mean_class": "mean over classes",
    "mse": "mean squared error",
    "pair": "the class or its reversal",
    "direction": "direction accuracy",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """One evaluation's folder."""

    run: Run
    summary: Summary

    @property
    def model(self) -> str:
        """Name of what was evaluated."""
        return plain(self.summary.spec.model)

    @property
    def family(self) -> str:
        """Title of its architecture; its own name where the zoo knows none."""
        return plain(self.summary.family) or self.model

    @property
    def dataset(self) -> str:
        """Dataset and split."""
        return plain(f"{self.summary.spec.dataset} {self.summary.spec.split}")

    @property
    def device(self) -> str:
        """What ran it."""
        cost, spec = self.summary.cost, self.summary.spec
        return plain((cost.device_name if cost else None) or spec.device)

    @property
    def macs(self) -> float | None:
        """Multiply-accumulates of a video; None where they were not counted, or there are none."""
        cost = self.summary.cost
        return (cost.macs_per_video or None) if cost else None

    @property
    def latency_s(self) -> float | None:
        """Seconds of a video; None where they were not measured."""
        return self.summary.cost.latency_per_video_s if self.summary.cost else None

    def main_scores(self) -> list[Score]:
        """The scores of the main table: clips as they are, all videos that could be read."""
        return [
            score
            for score in self.summary.scores
            if score.metric in MAIN and (score.condition, score.videos) == (AS_IS, DECODED)
        ]

    def under(self, condition: str, like: Score) -> Score | None:
        """The same number of the same head under a condition."""
        wanted = (like.metric, like.head, like.videos, condition)
        return next(
            (s for s in self.summary.scores if (s.metric, s.head, s.videos, s.condition) == wanted),
            None,
        )


def read_evaluations(run_dirs: Iterable[Path]) -> tuple[Evaluation, ...]:
    """Read folders of `vbench eval`, a folder named twice once.

    Raises:
        UsageError: One holds no summary, or one of another schema.
    """
    distinct = {path.resolve(): path for path in run_dirs}
    return tuple(_read(path) for path in distinct.values())


def _read(path: Path) -> Evaluation:
    summary = evaluations.read_summary(path)
    has_cost = (path / store.RECORDS_FILE).exists()
    records = store.latest(store.read(path).records) if has_cost else {}
    digest = hashlib.sha256((path / evaluations.SUMMARY_FILE).read_bytes()).hexdigest()
    return Evaluation(
        summary=summary,
        run=Run(
            path=path,
            records=tuple(records.values()),
            torn_lines=(),
            num_superseded=0,
            spec=None,
            sha256=digest[:16],
            num_videos=summary.num_videos,
        ),
    )


def metric_name(metric: str) -> str:
    """A metric in words."""
    return METRICS.get(metric, metric.replace("_", " "))


def conditions(found: Iterable[Evaluation]) -> list[str]:
    """The conditions of any score, in the order met, without clips as they are."""
    names = (score.condition for one in found for score in one.summary.scores)
    return [name for name in dict.fromkeys(names) if name != AS_IS]


def comparable(
    found: Sequence[Evaluation], published: Iterable[PublishedPoint]
) -> list[PublishedPoint]:
    """The published points of the same datasets under the very protocols that were evaluated."""
    presets = [one.summary.spec for one in found if one.summary.spec.protocol.is_preset]
    return [point for point in published if any(point.is_like(spec) for spec in presets)]


def to_frame(found: Sequence[Evaluation], published: Iterable[PublishedPoint] = ()) -> pd.DataFrame:
    """A row a point of the figures: measured ones, and comparable published ones.

    Accuracies are shares; `panel` says dataset, head and metric. What is not known is NaN.
    """
    rows = list(_measured(found))
    panels = {(row["dataset_name"], row["head"]): row["panel"] for row in rows if row["is_top1"]}
    for point in _distinct(comparable(found, published)):
        heads = [head for dataset, head in panels if dataset == point.dataset]
        head = point.head or (heads[0] if len(heads) == 1 else "")
        if head in heads:
            rows.append(
                {
                    "panel": panels[point.dataset, head],
                    "kind": "published",
                    "model": plain(point.model),
                    "family": plain(point.family),
                    "macs_per_video": point.macs_per_video,
                    "accuracy": point.top1,
                    "low": point.top1,
                    "high": point.top1,
                    "baseline": None,
                }
            )
    frame = pd.DataFrame(rows, columns=[*_NAMES, *_NUMBERS])
    return frame.astype(dict.fromkeys(_NUMBERS, "float64"))


_NAMES: Final = ("panel", "kind", "model", "family", "device")
_NUMBERS: Final = (
    *("macs_per_video", "latency_per_video_s"),
    *("accuracy", "low", "high", "baseline"),
)


def _distinct(points: Iterable[PublishedPoint]) -> list[PublishedPoint]:
    """One of each: several sources print the same point."""
    seen = {
        (point.model, point.dataset, point.head, point.top1, point.macs_per_video): point
        for point in points
    }
    return list(seen.values())


def _measured(found: Iterable[Evaluation]) -> Iterator[dict[str, object]]:
    for one in found:
        scores = [score for score in one.main_scores() if score.metric != "mse"]
        has_heads = len({score.head for score in scores}) > 1
        for score in scores:
            head = f" {plain(score.head)}," if has_heads else ""
            yield {
                "panel": f"{one.dataset},{head} {metric_name(score.metric)}",
                "dataset_name": one.summary.spec.dataset,
                "head": score.head,
                "is_top1": score.metric == "top1",
                "kind": "measured",
                "model": one.model,
                "family": one.family,
                "device": one.device,
                "macs_per_video": one.macs,
                "latency_per_video_s": one.latency_s,
                "accuracy": score.value,
                "low": score.interval.low,
                "high": score.interval.high,
                "baseline": score.baseline,
            }
