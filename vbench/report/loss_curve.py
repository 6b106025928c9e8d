"""The loss curve of a fit: each head's cross-entropy over the steps, smoothed over its noise."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import matplotlib as mpl
import pandas as pd

from vbench.report import canvas
from vbench.report.canvas import End

SMOOTHED_OVER: Final = 50  # steps


def draw(losses: Path, path: Path, *, title: str, num_classes: Mapping[str, int]) -> Path:
    """Draw ``losses.csv`` as a PNG; gives its path.

    Raw values are faint behind their mean over 50 steps; a dotted line is what guessing costs.

    Args:
        num_classes: Of each head.
    """
    frame = pd.read_csv(losses)
    heads = [name.removesuffix("_loss") for name in frame.columns if name.endswith("_loss")]
    with mpl.rc_context(canvas.STYLE):
        figure, (axes,) = canvas.new_figure([canvas.label_text(title)], heads)
        ends = []
        for head, colour in zip(heads, canvas.COLOURS, strict=False):
            raw = frame[f"{head}_loss"]
            mean = raw.rolling(SMOOTHED_OVER, min_periods=1).mean()
            axes.plot(frame["step"], raw, color=colour, alpha=0.18, linewidth=0.6)
            axes.plot(frame["step"], mean, color=colour)
            axes.axhline(math.log(num_classes[head]), color=colour, linestyle=":", linewidth=1)
            ends.append(End(x=frame["step"].iloc[-1], y=mean.iloc[-1], text=head, colour=colour))
        axes.set_ylim(bottom=0)
        axes.set_xlabel("step")
        axes.set_ylabel("cross-entropy, nats")
        canvas.label_ends(axes, ends)
        figure.savefig(path, dpi=144)
    return path
