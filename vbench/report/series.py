"""Curves of the frame: which rows make one line, and which lines may share a panel.

A line is one model under one attention backend. A panel holds lines of equal conditions: device,
mode, arithmetic, compilation, resolution and batch. So no line and no ratio mixes batch sizes or
devices, and kinds of number stay apart inside a panel.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from vbench.core.metrics import Kind
from vbench.report.frame import points, precision_label

LINE: Final = ("model", "attention")
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

FAILURES: Final = {
    "oom": "out of memory",
    "timeout": "timed out",
    "error": "failed",
    "unsupported": "unsupported",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One metric of one model and backend along an axis of the grid.

    Attributes:
        rows: Sorted by the axis, one a value of it.
        failures: (axis value, status) of points that did not finish.
    """

    model: str
    attention: str
    metric: str
    kind: Kind
    x: tuple[int, ...]
    rows: pd.DataFrame
    failures: tuple[tuple[int, str], ...] = ()

    @property
    def y(self) -> list[float]:
        """Medians, in base units."""
        return [float(value) for value in self.rows["median"]]

    @property
    def label(self) -> str:
        """Model and, where it has one, backend."""
        return series_label(self.model, self.attention)


@dataclass(frozen=True, kw_only=True, slots=True)
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

    def lines(self, metric: str, *, along: str = "num_frames", shortest: int = 1) -> list[Line]:
        """Lines of a metric of at least `shortest` points, in the order of the records."""
        rows = self.rows[self.rows["metric"] == metric]
        lines = []
        for (model, attention), group in rows.groupby(list(LINE), sort=False):
            group = group.drop_duplicates(along, keep="last").sort_values(along)
            if len(group) < shortest:
                continue
            lines.append(
                Line(
                    model=str(model),
                    attention=str(attention),
                    metric=metric,
                    kind=group["kind"].iloc[0],
                    x=tuple(int(value) for value in group[along]),
                    rows=group,
                    failures=self._failures(str(model), str(attention), along),
                )
            )
        return lines

    def _failures(self, model: str, attention: str, along: str) -> tuple[tuple[int, str], ...]:
        every = points(self.rows)
        mine = every[(every["model"] == model) & (every["attention"] == attention)]
        bad = mine[(mine["status"] != "ok") & mine[along].notna()]
        return tuple(
            (int(x), str(status)) for x, status in zip(bad[along], bad["status"], strict=True)
        )


def panels(frame: pd.DataFrame, *, free: Sequence[str] = ()) -> list[Panel]:
    """Split by conditions, in the order of the records.

    Args:
        free: Conditions that vary along the axis of a figure and so do not split.
    """
    fixed = [name for name in CONDITION if name not in free]
    if frame.empty:
        return []
    changing = [name for name in fixed if frame[name].nunique() > 1]
    found = []
    for _, rows in frame.groupby(fixed, sort=False, dropna=False):
        found.append(
            Panel(
                title=describe(rows, changing),
                conditions=describe(rows, fixed),
                rows=rows,
            )
        )
    return found


def describe(rows: pd.DataFrame, names: Sequence[str]) -> str:
    """Name the conditions of rows that share them, as in ``A100, inference, bf16, batch 8``."""
    first = rows.iloc[0]
    return ", ".join(_phrases(first, set(names)))


def _phrases(row: pd.Series, names: set[str]) -> Iterator[str]:
    if "place" in names:
        yield str(row["place"])
    if "mode" in names:
        yield str(row["mode"])
    if names & {"precision", "autocast"}:
        yield precision_label(row["precision"], row["autocast"])
    if "compile" in names:
        yield from ["compiled"] if row["compile"] else []
    if "cudagraph" in names:
        yield from ["CUDA graph"] if row["cudagraph"] else []
    if names & {"height_px", "width_px"}:
        yield size_label(int(row["height_px"]), int(row["width_px"]))
    if "batch" in names:
        yield "largest batch that fits" if row["batch"] == "auto" else f"batch {row['batch']}"


def size_label(height_px: int, width_px: int) -> str:
    """Name a resolution."""
    return f"{height_px} px" if height_px == width_px else f"{height_px} x {width_px} px"


def series_label(model: str, attention: str) -> str:
    """Name a line."""
    return model if attention == "none" else f"{model}, {attention}"


def memory_metric(rows: pd.DataFrame, *, per_clip: bool = False) -> dict[Kind, str]:
    """The memory metric of each kind that these rows can be compared by; empty without any."""
    here = set(rows["metric"].dropna())
    chosen: dict[Kind, str] = {}
    for measured, estimated in MEMORY:
        if measured in here:
            chosen = {"measured": measured}
            chosen |= {"estimated": estimated} if estimated in here else {}
            break
    else:
        chosen = {"estimated": MEMORY[0][1]} if MEMORY[0][1] in here else {}
    if per_clip:
        return {kind: per_clip_name(metric) for kind, metric in chosen.items()}
    return chosen


def per_clip_name(metric: str) -> str:
    """Name of the per-clip form of a memory metric."""
    return f"{metric.removesuffix('_bytes')}_per_clip_bytes"


def throughput_metric(rows: pd.DataFrame) -> dict[Kind, str]:
    """The throughput metric of each kind that these rows hold."""
    here = set(rows["metric"].dropna())
    names: dict[Kind, str] = {
        "measured": "throughput_clips_per_s",
        "estimated": "estimated_throughput_clips_per_s",
    }
    return {kind: metric for kind, metric in names.items() if metric in here}
