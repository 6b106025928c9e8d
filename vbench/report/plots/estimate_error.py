"""How far estimated memory lies from measured memory."""

from typing import Final

import pandas as pd

from vbench.core.units import Scale
from vbench.report import canvas
from vbench.report.curve_figure import Curves, caption, ends_of, lines_of
from vbench.report.derive import ESTIMATE_OF
from vbench.report.plots import Drawing, plot
from vbench.report.series import panels

_PERCENT: Final = Scale(unit="%", size=1.0)
_METRICS: Final = [
    f"estimate_error_of_{metric.removesuffix('_bytes')}_percent" for metric in ESTIMATE_OF
]
_ABOUT: Final = (
    "Estimated over measured peak memory of the same point, less 1. The shaded band is 5 % either "
    "way. On a GPU the allocator's peak is estimated, on a CPU the memory above weights and clips."
)
CURVES: Final = Curves(
    metrics=lambda panel: {
        "estimated": next((metric for metric in _METRICS if metric in panel.metrics), _METRICS[0])
    },
    y_label="estimate less measured (%)",
    worse="up",
    about=_ABOUT,
)


@plot(
    title="Error of the memory estimate",
    applies=lambda frame: bool(frame["metric"].isin(_METRICS).any()),
    order=60,
)
def estimate_error(frame: pd.DataFrame) -> Drawing:
    """Draw the error in percent over frames."""
    drawn = [(panel, lines) for panel in panels(frame) if (lines := lines_of(CURVES, panel))]
    shown = drawn[: canvas.MAX_PANELS]
    titles = [panel.title for panel, _ in shown]
    labels = [line.label for _, lines in shown for line in lines]
    figure, all_axes = canvas.new_figure(titles, labels, height_in=2.6)
    colours = canvas.colours_of(frame)
    for axes, (_, lines) in zip(all_axes, shown, strict=True):
        values = [0.0, *(value for line in lines for value in line.y)]
        reach = max(max(values), -min(values), 8.0) * 1.15
        axes.axhspan(-5, 5, color=canvas.GRID, alpha=0.5, linewidth=0)
        axes.axhline(0, color=canvas.MUTED, linewidth=0.8)
        for line in lines:
            axes.plot(
                line.x,
                line.y,
                color=colours[line.model],
                linestyle=canvas.DASHES.get(line.attention, "-"),
                **canvas.marker_of("estimated", colours[line.model]),
            )
        axes.set_ylim(-reach, reach)
        axes.set_ylabel(CURVES.y_label)
        canvas.count_axis(axes, [x for line in lines for x in line.x], CURVES.x_label)
        canvas.label_ends(axes, ends_of(lines, _PERCENT, colours))
    canvas.style_key(figure, ["estimated"], [line.attention for _, ls in shown for line in ls])
    return Drawing(figure=figure, caption=caption(_ABOUT, [panel for panel, _ in drawn]))
