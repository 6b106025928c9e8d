"""Figures of lines: a quantity along one axis of the grid, a panel for each set of conditions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import pandas as pd
from matplotlib.axes import Axes

from vbench.core.metrics import Kind, unit_of
from vbench.core.units import Scale, scale_for
from vbench.report import canvas
from vbench.report.plots import Drawing
from vbench.report.series import FAILURES, Axis, Line, Panel

_LEAST_BAND: Final = 1.03


@dataclass(frozen=True, kw_only=True, slots=True)
class Curves:
    """What a figure of lines shows.

    Attributes:
        metrics: The metric of each kind to draw in a panel.
        y_label: Quantity; the unit is added.
        worse: Where a point that did not finish is marked.
        about: First sentence of the caption.
        shortest: Least points of a line.
    """

    metrics: Callable[[Panel], dict[Kind, str]]
    y_label: str
    worse: Literal["up", "down"]
    about: str
    x_column: Axis = "num_frames"
    x_label: str = "frames a clip"
    shortest: int = 1


def draw_curves(spec: Curves, panels: Sequence[Panel], frame: pd.DataFrame) -> Drawing:
    """Draw one panel for each of the first six sets of conditions."""
    drawn = [(panel, lines) for panel in panels if (lines := lines_of(spec, panel))]
    shown = drawn[: canvas.MAX_PANELS]
    labels = [line.label for _, lines in shown for line in lines]
    figure, all_axes = canvas.new_figure([panel.title for panel, _ in shown], labels)
    colours = canvas.colours_of(frame)
    for axes, (_, lines) in zip(all_axes, shown, strict=True):
        draw_panel(spec, axes, lines, colours)
    every = [line for _, lines in shown for line in lines]
    canvas.style_key(
        figure,
        (line.kind for line in every),
        (line.attention for line in every),
        failed=any(line.failures for line in every if line.kind != "counted"),
    )
    return Drawing(figure=figure, caption=caption(spec.about, [p for p, _ in drawn]))


def lines_of(spec: Curves, panel: Panel) -> list[Line]:
    """The lines that a panel holds for a figure."""
    return [
        line
        for metric in spec.metrics(panel).values()
        for line in panel.lines(metric, along=spec.x_column, shortest=spec.shortest)
    ]


def draw_panel(spec: Curves, axes: Axes, lines: Sequence[Line], colours: dict[str, str]) -> None:
    """Lines with their intervals, marks of failures, labels at the ends."""
    values = [value for line in lines for value in line.y]
    scale = scale_for(unit_of(lines[0].metric), values)
    for line in lines:
        draw_line(axes, line, scale, colours[line.model])
    failures = {
        (x, colours[line.model], FAILURES.get(status, status))
        for line in lines
        if line.kind != "counted"
        for x, status in line.failures
    }
    counts = [x for line in lines for x in line.x] + [x for x, _, _ in failures]
    unit = f" ({scale.unit})" if scale.unit else ""
    canvas.log_axis(axes, [value / scale.size for value in values], f"{spec.y_label}{unit}")
    canvas.count_axis(axes, counts, spec.x_label)
    canvas.mark_failures(axes, sorted(failures), at_top=spec.worse == "up")
    canvas.label_ends(axes, ends_of(lines, scale, colours))


def draw_line(axes: Axes, line: Line, scale: Scale, colour: str) -> None:
    """One line in its model's colour, with the interval of its medians as a band."""
    y = [value / scale.size for value in line.y]
    if _is_visible(line):
        low, high = ([end / scale.size for end in ends] for ends in (line.low, line.high))
        axes.fill_between(line.x, low, high, color=colour, alpha=0.15, linewidth=0)
    axes.plot(
        line.x,
        y,
        color=colour,
        linestyle=canvas.DASHES.get(line.attention, "-"),
        **canvas.marker_of(line.kind, colour),
    )


def _is_visible(line: Line) -> bool:
    """Whether the intervals are known and wider than the line that runs through them."""
    widths = [high / low for low, high in zip(line.low, line.high, strict=True) if low > 0]
    return len(widths) == len(line.x) and max(widths) > _LEAST_BAND


def ends_of(lines: Sequence[Line], scale: Scale, colours: dict[str, str]) -> list[canvas.End]:
    """A label for each model and backend, at its longest line."""
    longest: dict[str, Line] = {}
    for line in lines:
        kept = longest.get(line.label)
        if kept is None or line.x[-1] > kept.x[-1]:
            longest[line.label] = line
    return [
        canvas.End(x=line.x[-1], y=line.y[-1] / scale.size, text=label, colour=colours[line.model])
        for label, line in longest.items()
    ]


def caption(about: str, panels: Sequence[Panel]) -> str:
    """Say what is drawn and under which conditions."""
    conditions = "; ".join(dict.fromkeys(panel.conditions for panel in panels[: canvas.MAX_PANELS]))
    rest = len(panels) - canvas.MAX_PANELS
    more = f" {rest} more sets of conditions are in the tables." if rest > 0 else ""
    return f"{about} Conditions: {conditions}.{more}"


def has_lines(spec: Curves, panels: Sequence[Panel], *, shortest: int = 2) -> bool:
    """Whether any line has that many points."""
    return any(len(line.x) >= shortest for panel in panels for line in lines_of(spec, panel))
