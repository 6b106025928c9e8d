"""Throughput against batch size."""

import pandas as pd

from vbench.report.curve_figure import Curves, draw_curves, has_lines
from vbench.report.plots import Drawing, plot
from vbench.report.series import Panel, panels, throughput_metric

CURVES = Curves(
    metrics=lambda panel: throughput_metric(panel.metrics),
    x_column="batch_size",
    x_label="clips a batch",
    y_label="throughput",
    worse="down",
    shortest=3,
    about=(
        "Clips a second against the batch they are processed in, at one frame count a panel. A "
        "curve that still rises has not filled the device."
    ),
)


def _panels(frame: pd.DataFrame) -> list[Panel]:
    return panels(frame, free=["batch"], also=["num_frames"])


@plot(title="Throughput by batch", applies=lambda f: has_lines(CURVES, _panels(f)), order=50)
def batch_scaling(frame: pd.DataFrame) -> Drawing:
    """Draw clips a second over the batch size."""
    return draw_curves(CURVES, _panels(frame), frame)
