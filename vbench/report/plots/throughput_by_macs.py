"""Throughput against operations: who turns MACs into clips."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from vbench.core.metrics import Kind
from vbench.core.units import Scale, scale_for
from vbench.report import canvas
from vbench.report.curve_figure import caption
from vbench.report.plots import Drawing, plot
from vbench.report.series import Panel, panels, series_label, throughput_metric

_ABOUT: Final = (
    "Clips a second against multiply-accumulates of a clip; a line joins one model's frame counts. "
    "Along a grey line the device does the same "
    "operations a second (2 x MACs), so higher lines are better used hardware."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Track:
    """One model and backend: MACs and clips a second at each frame count."""

    model: str
    attention: str
    kind: Kind
    macs: tuple[float, ...]
    clips_per_s: tuple[float, ...]


@plot(
    title="Throughput by operations",
    applies=lambda frame: any(_tracks(panel) for panel in panels(frame)),
    order=45,
)
def throughput_by_macs(frame: pd.DataFrame) -> Drawing:
    """Draw clips a second over MACs a clip, with lines of equal operations a second."""
    drawn = [(panel, tracks) for panel in panels(frame) if (tracks := _tracks(panel))]
    shown = drawn[: canvas.MAX_PANELS]
    every = [track for _, tracks in shown for track in tracks]
    figure, all_axes = canvas.new_figure(
        [panel.title for panel, _ in shown],
        [series_label(track.model, track.attention) for track in every],
    )
    colours = canvas.colours_of(frame)
    for axes, (_, tracks) in zip(all_axes, shown, strict=True):
        _draw(axes, tracks, colours)
    canvas.style_key(figure, [track.kind for track in every], [track.attention for track in every])
    return Drawing(figure=figure, caption=caption(_ABOUT, [panel for panel, _ in drawn]))


def _tracks(panel: Panel) -> list[_Track]:
    macs = panel.rows[panel.rows["metric"] == "macs_per_clip"]
    # Counting runs on no device, so its records may be other points than the timed ones.
    counted = macs.groupby(["model", "num_frames"])["median"].last()
    tracks = []
    for kind, metric in throughput_metric(panel.metrics).items():
        for line in panel.lines(metric):
            known = [(line.model, x) in counted.index for x in line.x]
            if not any(known):
                continue
            x = [x for x, is_known in zip(line.x, known, strict=True) if is_known]
            y = [y for y, is_known in zip(line.y, known, strict=True) if is_known]
            tracks.append(
                _Track(
                    model=line.model,
                    attention=line.attention,
                    kind=kind,
                    macs=tuple(float(counted[line.model, frames]) for frames in x),
                    clips_per_s=tuple(y),
                )
            )
    return tracks


def _draw(axes: Axes, tracks: Sequence[_Track], colours: dict[str, str]) -> None:
    macs = [value for track in tracks for value in track.macs]
    rates = [value for track in tracks for value in track.clips_per_s]
    scale = scale_for("", macs)
    canvas.log_axis(
        axes, [value / scale.size for value in macs], f"{scale.unit}MACs a clip", axis="x"
    )
    canvas.log_axis(axes, rates, "throughput (clips/s)")
    _draw_equal_work(
        axes, scale, [2 * m * r for t in tracks for m, r in zip(t.macs, t.clips_per_s, strict=True)]
    )
    for track in tracks:
        colour = colours[track.model]
        axes.plot(
            [value / scale.size for value in track.macs],
            track.clips_per_s,
            color=colour,
            linestyle=canvas.DASHES.get(track.attention, "-"),
            **canvas.marker_of(track.kind, colour),
        )
    canvas.label_ends(
        axes,
        [
            canvas.End(
                x=track.macs[-1] / scale.size,
                y=track.clips_per_s[-1],
                text=series_label(track.model, track.attention),
                colour=colours[track.model],
            )
            for track in tracks
        ],
    )


def _draw_equal_work(axes: Axes, scale: Scale, flops_per_s: Sequence[float]) -> None:
    """A line for each power of ten of operations a second that the panel spans."""
    x = np.asarray(axes.get_xlim())
    low, high = axes.get_ylim()
    for power in range(int(np.floor(np.log10(min(flops_per_s)))), 19):
        y = 10.0**power / (2 * x * scale.size)
        if y[1] > high or y[0] < low:
            continue
        axes.plot(x, y, color=canvas.GRID, linewidth=1.1, zorder=0.5)
        _name_equal_work(axes, power, scale)


def _name_equal_work(axes: Axes, power: int, scale: Scale) -> None:
    """Name a line where it enters at the left or at the top."""
    left, _ = axes.get_xlim()
    low, high = axes.get_ylim()
    at_left = 10.0**power / (2 * left * scale.size)
    x = left if at_left < high else 10.0**power / (2 * high * scale.size)
    y = min(at_left, high)
    if y <= low:
        return
    named = scale_for("FLOP/s", [10.0**power])
    axes.annotate(
        f"{10.0**power / named.size:,g} {named.unit}",
        (x, y),
        xytext=(5, -3),
        textcoords="offset points",
        va="top",
        fontsize=7,
        color=canvas.PUBLISHED,
    )
