"""VideoMamba's Figure 1: what is found, beside what was published and claimed."""

from dataclasses import dataclass
from typing import Final

import pandas as pd
from matplotlib.axes import Axes

from vbench.core.metrics import Kind
from vbench.core.units import times
from vbench.report import canvas, published
from vbench.report.derive import metric_rows
from vbench.report.plots import Drawing, plot
from vbench.report.series import FAILURES, Line, Panel, panels, throughput_metric

_BATCH: Final = 128
_GIB: Final = 2.0**30
_NAMES: Final = {
    published.BASELINE: "TimeSformer-Ti joint",
    published.DIVIDED: "TimeSformer-Ti divided",
    published.CHALLENGER: "VideoMamba-Ti",
}
_MEMORY: Final[dict[Kind, str]] = {
    "estimated": "estimated_activation_bytes",
    "measured": "peak_allocated_growth_bytes",
}
_KERNELS: Final = {"eager": ", materialised", "none": ""}
_COLOURS: Final = {
    published.BASELINE: canvas.VERMILION,
    published.DIVIDED: canvas.GREEN,
    published.CHALLENGER: canvas.BLUE,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trace:
    """One line, in GiB for 128 clips or in clips a second."""

    line: Line
    y: tuple[float, ...]

    @property
    def label(self) -> str:
        return _NAMES[self.line.model] + _KERNELS.get(self.line.attention, ", fused")

    @property
    def colour(self) -> str:
        return _COLOURS[self.line.model]


@plot(
    title="VideoMamba's Figure 1, checked",
    applies=lambda frame: bool(_chosen(frame)),
    order=10,
)
def figure1(frame: pd.DataFrame) -> Drawing:
    """Draw memory and throughput over frames beside the published points."""
    chosen = _chosen(frame)
    memory = [trace for kind, panel in chosen.items() for trace in _memory(panel, kind)]
    speed = [trace for kind, panel in chosen.items() for trace in _speed(panel, kind)]
    labels = [trace.label for trace in (*memory, *speed)] + ["published TimeSformer-Ti"]
    figure, (left, right) = canvas.new_figure(
        [
            f"GPU memory of 128 clips; claimed: {times(published.CLAIMED_MEMORY_RATIO)}x less",
            f"Throughput; claimed: {times(published.CLAIMED_THROUGHPUT_RATIO)}x higher",
        ],
        labels,
        height_in=3.7,
    )
    points = published.figure1()
    scaled = points.assign(y=points["memory_per_clip_bytes"] * _BATCH / _GIB)
    _draw(left, memory, scaled, "memory above weights and clips (GiB)")
    _mark(left, memory, at_top=True)
    _claim(left, scaled, published.CLAIMED_MEMORY_RATIO)
    rates = points.assign(y=points["clips_per_s"])
    _draw(right, speed, rates, "throughput (clips/s)")
    _mark(right, speed, at_top=False)
    _claim(right, rates, published.CLAIMED_THROUGHPUT_RATIO)
    canvas.style_key(
        figure, [*chosen, "published"], [trace.line.attention for trace in (*memory, *speed)]
    )
    return Drawing(figure=figure, caption=_caption(chosen))


def _chosen(frame: pd.DataFrame) -> dict[Kind, Panel]:
    """For each kind the panel most like the figure's conditions; empty where none compares."""
    shown = frame[frame["model"].isin(_NAMES)]
    shown = shown[(shown["mode"] == "inference") & (shown["height_px"] == 224)]
    shown = shown[(shown["width_px"] == 224) & ~shown["compile"].astype(bool)]
    found = [panel for panel in panels(shown) if _compares(panel)]
    chosen: dict[Kind, Panel] = {}
    for kind in _MEMORY:
        fitting = [panel for panel in found if _num_points(panel, kind)]
        if fitting:
            chosen[kind] = max(fitting, key=lambda panel: _likeness(panel, kind))
    return chosen


def _likeness(panel: Panel, kind: Kind) -> tuple[bool, bool, int]:
    row = panel.rows.iloc[0]
    return bool(row["autocast"]), row["precision"] == "bf16", _num_points(panel, kind)


def _compares(panel: Panel) -> bool:
    models = set(panel.rows["model"])
    rivals = {published.BASELINE, published.DIVIDED}
    return published.CHALLENGER in models and bool(rivals & models)


def _num_points(panel: Panel, kind: Kind) -> int:
    """Points of GPU memory, none unless they are of two frame counts at least."""
    rows = metric_rows(panel.rows, _MEMORY[kind])
    return len(rows) if rows["num_frames"].nunique() > 1 else 0


def _memory(panel: Panel, kind: Kind) -> list[_Trace]:
    """Memory that 128 clips would take, which is proportional to their number."""
    traces = []
    for line in panel.lines(_MEMORY[kind]):
        sizes = [size or _BATCH for size in line.batch_sizes]
        y = (peak * _BATCH / size / _GIB for peak, size in zip(line.y, sizes, strict=True))
        traces.append(_Trace(line=line, y=tuple(y)))
    return traces


def _speed(panel: Panel, kind: Kind) -> list[_Trace]:
    metric = throughput_metric(panel.metrics).get(kind)
    if metric is None:
        return []
    return [_Trace(line=line, y=line.y) for line in panel.lines(metric)]


def _draw(axes: Axes, traces: list[_Trace], points: pd.DataFrame, label: str) -> None:
    for trace in traces:
        axes.plot(
            trace.line.x,
            trace.y,
            color=trace.colour,
            linestyle=canvas.DASHES.get(trace.line.attention, "-"),
            **canvas.marker_of(trace.line.kind, trace.colour),
        )
    for _, group in points.groupby("series", sort=False):
        axes.plot(group["num_frames"], group["y"], **canvas.PUBLISHED_MARKER, zorder=4)
    values = [*(value for trace in traces for value in trace.y), *points["y"]]
    canvas.log_axis(axes, values, label)
    canvas.count_axis(axes, (8, 16, 32, 64), "frames a clip")
    ends = {trace.label: trace for trace in sorted(traces, key=lambda trace: trace.line.x[-1])}
    labels = [
        canvas.End(x=trace.line.x[-1], y=trace.y[-1], text=text, colour=trace.colour)
        for text, trace in ends.items()
    ]
    labels += [
        canvas.End(
            x=float(group["num_frames"].iloc[-1]),
            y=float(group["y"].iloc[-1]),
            text=f"published {series}",
            colour=canvas.PUBLISHED,
        )
        for series, group in points.groupby("series", sort=False)
    ]
    canvas.label_ends(axes, labels)


def _mark(axes: Axes, traces: list[_Trace], *, at_top: bool) -> None:
    failures = {
        (x, trace.colour, FAILURES.get(status, status))
        for trace in traces
        if trace.line.kind == "measured"
        for x, status in trace.line.failures
    }
    canvas.mark_failures(axes, sorted(failures), at_top=at_top)


def _claim(axes: Axes, points: pd.DataFrame, ratio: float) -> None:
    """Span the published gap at 64 frames and say what was claimed of it."""
    at = points[points["num_frames"] == published.CLAIM_FRAMES]["y"]
    low, high = float(at.min()), float(at.max())
    axes.annotate(
        "",
        (published.CLAIM_FRAMES * 0.93, high),
        xytext=(published.CLAIM_FRAMES * 0.93, low),
        arrowprops={"arrowstyle": "<->", "color": canvas.PUBLISHED, "linewidth": 1.0},
    )
    axes.annotate(
        f"{times(ratio)}x",
        (published.CLAIM_FRAMES * 0.93, (low * high) ** 0.5),
        xytext=(-5, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=canvas.LABEL_SIZE,
        color=canvas.MUTED,
    )


def _caption(chosen: dict[Kind, Panel]) -> str:
    ours = ". ".join(f"{kind.capitalize()}: {panel.conditions}" for kind, panel in chosen.items())
    return (
        "Memory is the allocator's peak above weights and clips, scaled to 128 clips. "
        f"Materialised attention writes its whole matrix, fused attention does not. {ours}. "
        f"Published (grey crosses): {published.SOURCE}. The published TimeSformer-Ti is DeiT-Ti "
        "with joint, materialised attention, run at batches of 128 (8 and 16 frames) down to 12 "
        "(64 frames). An estimated throughput is a roofline, the most that the device allows."
    )
