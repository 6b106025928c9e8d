"""Memory against clip length."""

import pandas as pd

from vbench.core.metrics import Kind
from vbench.report.curve_figure import Curves, draw_curves, has_lines
from vbench.report.plots import Drawing, plot
from vbench.report.series import Panel, memory_metric, panels


def _metrics(panel: Panel) -> dict[Kind, str]:
    return memory_metric(panel.metrics, per_clip=panel.is_auto_batch)


CURVES = Curves(
    metrics=_metrics,
    y_label="peak memory",
    worse="up",
    about=(
        "Peak memory of one step: of a batch where all points have the same, of a clip where each "
        "took the largest batch that fits. On a GPU it is what the allocator handed out, weights "
        "included; on a CPU the growth of resident memory, weights left out."
    ),
)


@plot(
    title="Memory by frames",
    applies=lambda frame: has_lines(CURVES, panels(frame)),
    order=20,
)
def memory_by_frames(frame: pd.DataFrame) -> Drawing:
    """Draw peak memory over frames."""
    return draw_curves(CURVES, panels(frame), frame)
