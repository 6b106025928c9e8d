"""Throughput against clip length."""

import pandas as pd

from vbench.core.metrics import Kind
from vbench.report.curve_figure import Curves, draw_curves, has_lines
from vbench.report.plots import Drawing, plot
from vbench.report.series import Panel, panels, throughput_metric


def _metrics(panel: Panel) -> dict[Kind, str]:
    return throughput_metric(panel.metrics)


CURVES = Curves(
    metrics=_metrics,
    y_label="throughput",
    worse="down",
    about=(
        "Clips a second, from the median latency of a batch already on the device; bands hold "
        "the 95 % interval. An estimate is a roofline: the model cannot be faster than it."
    ),
)


@plot(
    title="Throughput by frames",
    applies=lambda frame: has_lines(CURVES, panels(frame)),
    order=30,
)
def throughput_by_frames(frame: pd.DataFrame) -> Drawing:
    """Draw clips a second over frames."""
    return draw_curves(CURVES, panels(frame), frame)
