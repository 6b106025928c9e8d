"""Curves of the frame: which rows make one line, and which lines may share a panel.

A line is one model under one attention backend. A panel holds lines of equal conditions: device,
mode, arithmetic, compilation, resolution and batch. So no line and no ratio mixes batch sizes or
devices, and kinds of number stay apart inside a panel.
"""

import weakref
from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, NamedTuple

import pandas as pd

from vbench.core.metrics import Kind
from vbench.report.frame import points, precision_label

Axis = Literal["num_frames", "batch_size"]
CONDITION: Final = (
    "place",
    "mode",
    "precision",
    "autocast",
    "compile",
    "cudagraph",
    "height_px",
    "width_px",
    "batch",
)
MEMORY: Final = (
    ("peak_allocated_bytes", "estimated_peak_bytes"),
    ("peak_rss_growth_bytes", "estimated_activation_bytes"),
    ("peak_rss_bytes", "estimated_activation_bytes"),
)
"""Measured memory, the best first, and the estimate that speaks of the same."""

ACTIVATIONS: Final = ("peak_allocated_growth_bytes", "peak_rss_growth_bytes")
"""Measured memory above weights and clips, the best first."""

FAILURES: Final = {
    "oom": "out of memory",
    "timeout": "timed out",
    "error": "failed",
    "unsupported": "unsupported",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One metric of one model and backend along an axis of the grid, sorted by it.

    Attributes:
        y: Medians, in base units; `low` and `high` bound them, NaN where nothing does.
        batch_sizes: Clips a batch that ran; 0 where that is not known.
        failures: (axis value, status) of points that did not finish.
    """

    model: str
    attention: str
    metric: str
    kind: Kind
    x: tuple[int, ...]
    y: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    batch_sizes: tuple[int, ...]
    failures: tuple[tuple[int, str], ...] = ()

    @property
    def label(self) -> str:
        """Model and, where it has one, backend."""
        return series_label(self.model, self.attention)


class _Row(NamedTuple):
    num_frames: int
    batch_size: int
    kind: Kind
    median: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Points of equal conditions.

    Attributes:
        title: What sets it apart from the other panels; empty for an only one.
        conditions: All of its conditions, in words.
    """

    title: str
    conditions: str
    rows: pd.DataFrame

    @property
    def is_auto_batch(self) -> bool:
        """Whether each point ran with the largest batch that fitted it."""
        return bool((self.rows["batch"] == "auto").any())

    @cached_property
    def metrics(self) -> frozenset[str]:
        """Names of the metrics that it holds."""
        return frozenset(self.rows["metric"].dropna())

    @cached_property
    def _by_line(self) -> dict[str, dict[tuple[str, str], list[_Row]]]:
        """Rows by metric, then by model and backend, in the order of the records."""
        found: dict[str, dict[tuple[str, str], list[_Row]]] = defaultdict(lambda: defaultdict(list))
        rows = self.rows[self.rows["metric"].notna()]
        sizes = rows["batch_size"].fillna(0)
        columns = [rows[name].tolist() for name in ("kind", "median", "low", "high")]
        values = map(_Row, rows["num_frames"].tolist(), sizes.tolist(), *columns)
        names = zip(rows["metric"], rows["model"], rows["attention"], strict=True)
        for (metric, model, attention), row in zip(names, values, strict=True):
            found[metric][model, attention].append(row)
        return found

    @cached_property
    def _failed(self) -> pd.DataFrame:
        return points(self.rows[self.rows["status"] != "ok"])

    def lines(self, metric: str, *, along: Axis = "num_frames", shortest: int = 1) -> list[Line]:
        """Lines of a metric of at least `shortest` points, in the order of the records."""
        lines = []
        for (model, attention), rows in self._by_line.get(metric, {}).items():
            latest = {getattr(row, along): row for row in rows}
            if len(latest) < shortest:
                continue
            ordered = [latest[x] for x in sorted(latest)]
            lines.append(
                Line(
                    model=model,
                    attention=attention,
                    metric=metric,
                    kind=ordered[0].kind,
                    x=tuple(sorted(latest)),
                    y=tuple(row.median for row in ordered),
                    low=tuple(row.low for row in ordered),
                    high=tuple(row.high for row in ordered),
                    batch_sizes=tuple(row.batch_size for row in ordered),
                    failures=self._failures(model, attention, along),
                )
            )
        return lines

    def _failures(self, model: str, attention: str, along: Axis) -> tuple[tuple[int, str], ...]:
        bad = self._failed
        columns = (bad["model"], bad["attention"], bad[along], bad["status"])
        return tuple(
            (int(x), str(status))
            for *name, x, status in zip(*columns, strict=True)
            if name == [model, attention] and not pd.isna(x)
        )


_KNOWN: Final[dict[int, dict[tuple[Sequence[str], ...], list[Panel]]]] = {}


def panels(
    frame: pd.DataFrame, *, free: Sequence[str] = (), also: Sequence[str] = ()
) -> list[Panel]:
    """Split by conditions, in the order of the records.

    The split is remembered for as long as the frame lives, since a dozen tables and figures ask
    for the same one; so a frame must not be changed in place.

    Args:
        free: Conditions that a figure's axis shows, or that its quantity does not depend on.
        also: Further columns to split by.
    """
    if id(frame) not in _KNOWN:
        _KNOWN[id(frame)] = {}
        weakref.finalize(frame, _KNOWN.pop, id(frame), None)
    known, key = _KNOWN[id(frame)], (tuple(free), tuple(also))
    if key not in known:
        known[key] = _split(frame, [*also, *(name for name in CONDITION if name not in free)])
    return known[key]


def _split(frame: pd.DataFrame, fixed: Sequence[str]) -> list[Panel]:
    if frame.empty:
        return []
    changing = [name for name in fixed if frame[name].nunique() > 1]
    return [
        Panel(title=describe(rows, changing), conditions=describe(rows, fixed), rows=rows)
        for _, rows in frame.groupby(list(fixed), sort=False, dropna=False)
    ]


def describe(rows: pd.DataFrame, names: Sequence[str]) -> str:
    """Name the conditions of rows that share them, as in ``A100, inference, bf16, batch 8``."""
    first = rows.iloc[0]
    return ", ".join(_phrases(first, set(names)))


def _phrases(row: pd.Series, names: set[str]) -> Iterator[str]:
    phrases = {
        "place": str(row["place"]),
        "num_frames": f"{row['num_frames']} frames",
        "mode": str(row["mode"]),
        "precision": precision_label(row["precision"], row["autocast"]),
        "compile": "compiled" if row["compile"] else "",
        "cudagraph": "CUDA graph" if row["cudagraph"] else "",
        "height_px": size_label(int(row["height_px"]), int(row["width_px"])),
        "batch": "largest batch that fits" if row["batch"] == "auto" else f"batch {row['batch']}",
    }
    same = {"autocast": "precision", "width_px": "height_px"}
    wanted = {same.get(name, name) for name in names}
    return (phrase for name, phrase in phrases.items() if name in wanted and phrase)


def size_label(height_px: int, width_px: int) -> str:
    """Name a resolution."""
    return f"{height_px} px" if height_px == width_px else f"{height_px} x {width_px} px"


def series_label(model: str, attention: str) -> str:
    """Name a line."""
    return model if attention == "none" else f"{model}, {attention}"


def memory_metric(here: Set[str], *, per_clip: bool = False) -> dict[Kind, str]:
    """The memory metric of each kind to compare by, of those that there are; empty without any."""
    chosen: dict[Kind, str] = {"estimated": MEMORY[0][1]}
    for measured, estimated in MEMORY:
        if measured in here:
            chosen = {"measured": measured, "estimated": estimated}
            break
    chosen = {kind: metric for kind, metric in chosen.items() if metric in here}
    if per_clip:
        return {kind: per_clip_name(metric) for kind, metric in chosen.items()}
    return chosen


def activation_metric(here: Set[str], *, per_clip: bool = False) -> dict[Kind, str]:
    """The metric of each kind for memory above weights and clips, of those that there are."""
    measured = next((metric for metric in ACTIVATIONS if metric in here), "")
    names: dict[Kind, str] = {"measured": measured, "estimated": "estimated_activation_bytes"}
    return {
        kind: per_clip_name(metric) if per_clip else metric
        for kind, metric in names.items()
        if metric in here
    }


def per_clip_name(metric: str) -> str:
    """Name of the per-clip form of a memory metric."""
    return f"{metric.removesuffix('_bytes')}_per_clip_bytes"


def throughput_metric(here: Set[str]) -> dict[Kind, str]:
    """The throughput metric of each kind, of those that there are."""
    names: dict[Kind, str] = {
        "measured": "throughput_clips_per_s",
        "estimated": "estimated_throughput_clips_per_s",
    }
    return {kind: metric for kind, metric in names.items() if metric in here}
