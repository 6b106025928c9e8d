"""Operations against clip length."""

import pandas as pd

from vbench.report.curve_figure import Curves, draw_curves, has_lines
from vbench.report.plots import Drawing, plot
from vbench.report.series import CONDITION, Panel, panels

CURVES = Curves(
    metrics=lambda panel: {"counted": "macs_per_clip"},
    y_label="MACs a clip",
    worse="up",
    about=(
        "Multiply-accumulates of one clip, counted operator by operator without running the model "
        "(1 MAC = 2 FLOPs). They do not depend on device, arithmetic, batch or attention kernel."
    ),
)
_MATTERS = ("mode", "height_px", "width_px")


def _panels(frame: pd.DataFrame) -> list[Panel]:
    counted = frame[frame["metric"] == "macs_per_clip"].assign(attention="none")
    return panels(counted, free=[name for name in CONDITION if name not in _MATTERS])


@plot(title="Operations by frames", applies=lambda f: has_lines(CURVES, _panels(f)), order=40)
def macs_by_frames(frame: pd.DataFrame) -> Drawing:
    """Draw MACs a clip over frames."""
    return draw_curves(CURVES, _panels(frame), frame)
