"""Exponents of growth as a figure: a row a model, colour the quantity, filling the kernel."""

from collections.abc import Sequence
from typing import Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from vbench.report import canvas
from vbench.report.claims.growth import AXES, QUANTITIES, Axis, Exponent
from vbench.report.claims.points import FUSED, MATERIALISED
from vbench.report.plots import Drawing, Plot

_COLOURS: Final = dict(zip(QUANTITIES, (canvas.INK, canvas.VERMILION, canvas.BLUE), strict=True))
_MARKERS: Final = dict(zip(QUANTITIES, ("s", "o", "D"), strict=True))
_LEFT_IN, _PANEL_IN, _GAP_IN, _ROW_IN, _TOP_IN, _BOTTOM_IN = 1.9, 4.0, 0.35, 0.2, 0.4, 0.95
_TITLES: Final[dict[Axis, str]] = {"frames": "growth in frames", "pixels": "growth in pixels"}


def growth_plot(found: Sequence[Exponent]) -> Plot:
    """The figure, as `vbench.report.figures.render` takes it."""

    def draw(frame: pd.DataFrame) -> Drawing:
        return _draw(found)

    return Plot(
        name="growth",
        title="Linear or quadratic: exponents of growth",
        draw=draw,
        applies=lambda frame: True,
        order=0,
    )


def _draw(found: Sequence[Exponent]) -> Drawing:
    rows = _rows(found)
    height_in = _ROW_IN * (max(rows.values()) + 1)
    total_w = _LEFT_IN + 2 * _PANEL_IN + _GAP_IN + 0.15
    total_h = _TOP_IN + height_in + _BOTTOM_IN
    figure = Figure(figsize=(total_w, total_h))
    for i, axis in enumerate(AXES):
        left = _LEFT_IN + i * (_PANEL_IN + _GAP_IN)
        axes = figure.add_axes(
            (left / total_w, _BOTTOM_IN / total_h, _PANEL_IN / total_w, height_in / total_h)
        )
        _panel(axes, [one for one in found if one.axis == axis], rows, with_names=i == 0)
        axes.set_title(_TITLES[axis], color=canvas.MUTED)
    _key(figure)
    kinds = sorted({one.kind for one in found if one.quantity != "operations"})
    return Drawing(
        figure=figure,
        caption=(
            "The exponent p of b x^p through each model's points; 1 is linear, 2 quadratic. "
            "Operations are counted and do not depend on the kernel; memory is that of "
            f"activations; memory and time are {' and '.join(kinds)}. Hollow: the attention "
            "matrix is materialised; filled: a fused kernel, or no attention. Models are grouped "
            "by how they mix tokens."
        ),
    )


def _rows(found: Sequence[Exponent]) -> dict[str, int]:
    """A height for each model, and one above them for the name of each group."""
    rows: dict[str, int] = {}
    for group in dict.fromkeys(one.group for one in found):
        rows[f"group {group}"] = len(rows)
        for model in dict.fromkeys(one.model for one in found if one.group == group):
            rows[model] = len(rows)
    return rows


def _panel(
    axes: Axes, found: Sequence[Exponent], rows: dict[str, int], *, with_names: bool
) -> None:
    offsets = dict(zip(QUANTITIES, (-0.22, 0.0, 0.22), strict=True))
    for one in found:
        colour = _COLOURS[one.quantity]
        is_hollow = one.kernel == MATERIALISED and one.quantity != "operations"
        axes.plot(
            [one.value],
            [rows[one.model] + offsets[one.quantity]],
            linestyle="none",
            marker=_MARKERS[one.quantity],
            markersize=4.5,
            color=colour,
            markerfacecolor=canvas.PAPER if is_hollow else colour,
            markeredgewidth=1.1,
        )
    for border in (1.0, 2.0):
        axes.axvline(border, color=canvas.MUTED, linewidth=0.8, zorder=0)
    low = min([0.9, *(one.value - 0.05 for one in found)])
    high = max([2.1, *(one.value + 0.05 for one in found)])
    axes.set_xlim(low, high)
    axes.set_ylim(max(rows.values()) + 0.6, -0.6)
    axes.set_xlabel("exponent")
    models = {name: row for name, row in rows.items() if not name.startswith("group ")}
    axes.set_yticks(list(models.values()), list(models) if with_names else [""] * len(models))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for name, row in rows.items():
        if name.startswith("group ") and with_names:
            axes.text(
                -0.02,
                row,
                name.removeprefix("group "),
                transform=axes.get_yaxis_transform(),
                ha="left",
                va="center",
                fontsize=canvas.LABEL_SIZE,
                fontstyle="italic",
                color=canvas.MUTED,
                bbox={"facecolor": canvas.PAPER, "edgecolor": "none", "pad": 0.6},
            )


def _key(figure: Figure) -> None:
    handles = [
        Line2D([], [], linestyle="none", marker=_MARKERS[name], color=_COLOURS[name], label=name)
        for name in QUANTITIES
    ]
    handles += [
        Line2D(
            [],
            [],
            linestyle="none",
            marker="o",
            color=canvas.MUTED,
            markerfacecolor=face,
            label=label.removeprefix("a "),
        )
        for label, face in ((MATERIALISED, canvas.PAPER), (FUSED, canvas.MUTED))
    ]
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.05, 0.0),
        ncols=len(handles),
        frameon=False,
        fontsize=canvas.LABEL_SIZE,
    )
