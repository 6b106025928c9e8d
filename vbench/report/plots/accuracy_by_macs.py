"""Accuracy against operations: what a video's multiply-accumulates buy."""

from typing import Final

import pandas as pd

from vbench.report.accuracy_figure import Costs, draw_accuracies, is_of_accuracies
from vbench.report.plots import Drawing, plot

COSTS: Final = Costs(
    column="macs_per_video",
    label="{unit}MACs x views of a video",
    about=(
        "Accuracy against multiply-accumulates of all views of a video, a panel for each dataset, "
        "head and metric; bars are 95 % intervals. Filled: measured here, MACs counted."
    ),
)


@plot(
    title="Accuracy by operations",
    applies=lambda frame: (
        is_of_accuracies(frame) and bool((_counted(frame)["kind"] == "measured").any())
    ),
    order=5,
)
def accuracy_by_macs(frame: pd.DataFrame) -> Drawing:
    """Draw accuracy over MACs x views, published points among them."""
    return draw_accuracies(COSTS, _counted(frame))


def _counted(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame[COSTS.column].notna()]
