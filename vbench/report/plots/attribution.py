"""What a published ratio is made of: one bar for each change of setting."""

from typing import Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vbench.core.units import number, times
from vbench.report import canvas, published
from vbench.report.plots import Drawing, plot
from vbench.report.ratios import Attribution, Quantity, Step
from vbench.report.ratios import attribution as take_apart

_QUANTITIES: Final[dict[Quantity, tuple[str, float]]] = {
    "activations": (
        "memory above weights and clips, over VideoMamba-Ti's",
        published.CLAIMED_MEMORY_RATIO,
    ),
    "time": ("time a clip over VideoMamba-Ti's", published.CLAIMED_THROUGHPUT_RATIO),
}
_SUBJECTS: Final[dict[Quantity, str]] = {"activations": "memory", "time": "time"}
_COLOURS: Final = {
    "VideoMamba-Ti": canvas.BLUE,
    "divided": canvas.GREEN,
    "fused": canvas.VERMILION,
}
_OTHER: Final = canvas.PINK
_LEFT_IN, _WIDTH_IN, _ROW_IN = 3.1, 5.6, 0.27


@plot(
    title="What the published ratios are made of",
    applies=lambda frame: bool(_found(frame)),
    order=15,
)
def attribution(frame: pd.DataFrame) -> Drawing:
    """Draw the steps from VideoMamba-Ti to the published baseline, in two orders."""
    found = _found(frame)
    heights = [_num_rows(one) * _ROW_IN for one in found]
    total_h = sum(heights) + 0.95 * len(found)
    total_w = _LEFT_IN + _WIDTH_IN + 1.1
    figure = Figure(figsize=(total_w, total_h))
    top = total_h
    for one, height in zip(found, heights, strict=True):
        top -= height + 0.4
        axes = figure.add_axes(
            (_LEFT_IN / total_w, top / total_h, _WIDTH_IN / total_w, height / total_h)
        )
        top -= 0.55
        _draw(axes, one)
    conditions = "; ".join(
        f"{_SUBJECTS[one.quantity]}: {one.kind}, {one.conditions}" for one in found
    )
    return Drawing(
        figure=figure,
        caption=(
            "Each bar is one change and runs from the ratio before it to the ratio after it; the "
            "multipliers of a path give its total. The order matters, because a materialised "
            "matrix costs little within a frame and much across all tokens of a clip: neither the "
            f"scheme nor the kernel alone makes the ratio. Conditions: {conditions}. The grey line "
            "is the published claim."
        ),
    )


def _found(frame: pd.DataFrame) -> list[Attribution]:
    return [one for name in _QUANTITIES if (one := take_apart(frame, name)) is not None]


def _num_rows(found: Attribution) -> int:
    return sum(1 + len(steps) for steps in found.paths.values())


def _draw(axes: Axes, found: Attribution) -> None:
    label, claim = _QUANTITIES[found.quantity]
    row = 0
    names: dict[int, str] = {}
    reached = [1.0, claim]
    for path, steps in found.paths.items():
        axes.text(
            -0.02,
            row,
            path,
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=canvas.LABEL_SIZE,
            color=canvas.MUTED,
            fontstyle="italic",
        )
        product = 1.0
        for step in steps:
            row += 1
            names[row] = step.change
            total = found.total if step is steps[-1] else None
            _bar(axes, row, product, step, total=total)
            product *= step.multiplier
            reached.append(product)
        row += 1
    title = f"{label}, {found.num_frames} frames ({found.kind})"
    canvas.log_axis(axes, reached, title, axis="x", room=0.25)
    axes.axvline(1, color=canvas.MUTED, linewidth=0.8)
    axes.axvline(claim, color=canvas.PUBLISHED, linewidth=1.2, linestyle=(0, (4, 2)))
    axes.annotate(
        f"claimed {times(claim)}x at {published.CLAIM_FRAMES} frames",
        (claim, 1.0),
        xycoords=axes.get_xaxis_transform(),
        xytext=(0, 4),
        textcoords="offset points",
        ha="center",
        fontsize=canvas.LABEL_SIZE,
        color=canvas.MUTED,
    )
    axes.set_ylim(row - 0.4, -0.6)
    axes.set_yticks(list(names), list(names.values()))
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)


def _bar(axes: Axes, row: int, before: float, step: Step, *, total: float | None) -> None:
    after = before * step.multiplier
    colour = next(
        (shade for start, shade in _COLOURS.items() if step.change.startswith(start)), _OTHER
    )
    axes.barh(row, after - before, left=before, height=0.55, color=colour)
    if total is None:
        axes.plot([after, after], [row, row + 0.72], color=canvas.MUTED, linewidth=0.7)
    grows = step.multiplier >= 1
    result = "" if total is None else f"  = {number(total)}"
    axes.annotate(
        f"x {number(step.multiplier)}{result}",
        (after, row),
        xytext=(5 if grows else -5, 0),
        textcoords="offset points",
        ha="left" if grows else "right",
        va="center",
        fontsize=canvas.LABEL_SIZE,
        bbox={"facecolor": canvas.PAPER, "edgecolor": "none", "pad": 0.8},
    )
