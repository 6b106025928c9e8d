"""Accuracy against time: what a video's seconds on one device buy."""

from typing import Final

import pandas as pd

from vbench.report.accuracy_figure import Costs, draw_accuracies, is_of_accuracies
from vbench.report.plots import Drawing, plot

COSTS: Final = Costs(
    column="latency_per_video_s",
    label="latency of all views of a video ({unit})",
    about=(
        "Accuracy against the time of all views of a video, decoding left out, a panel for each "
        "dataset, head, metric and device; bars are 95 % intervals. All is measured here."
    ),
)
_LEAST: Final = 2  # models that one device ran; fewer have nothing to be set against


@plot(
    title="Accuracy by latency",
    applies=lambda frame: is_of_accuracies(frame) and not _timed(frame).empty,
    order=6,
)
def accuracy_by_latency(frame: pd.DataFrame) -> Drawing:
    """Draw accuracy over seconds a video; devices never share a panel."""
    return draw_accuracies(COSTS, _timed(frame))


def _timed(frame: pd.DataFrame) -> pd.DataFrame:
    rows = frame[frame[COSTS.column].notna()]
    rows = rows.assign(panel=rows["panel"] + ", " + rows["device"])
    return rows[rows.groupby("panel")["model"].transform("nunique") >= _LEAST]
