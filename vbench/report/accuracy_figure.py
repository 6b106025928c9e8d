"""Figures of accuracy against what a video costs: a panel a dataset, head and metric."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from vbench.core.metrics import unit_of
from vbench.core.units import scale_for
from vbench.report import canvas
from vbench.report.plots import Drawing
from vbench.report.point_labels import Point, label_points

_MARKERS: Final = ("o", "s", "^", "D", "v", "P", "<", "h")
_DOTTED: Final = (0, (1, 2))
_LEAST_SPAN: Final = 4.0  # points of accuracy that a panel shows at the least
_WIDEST: Final = "baseline 10.5 %, below"
_PUBLISHED: Final = (
    " Hollow and grey: published for the same dataset and the same views, by the printed MACs; "
    "never measured here."
)
_BASELINE: Final = (
    " Dotted: the baseline, what always answering the commonest class gives; of a direction, what "
    "a model gives that does not see the order of frames."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What a figure sets accuracy against.

    Attributes:
        column: Of the frame, in base units.
        label: Of the axis; ``{unit}`` stands for the shown unit.
        about: First sentences of the caption.
    """

    column: str
    label: str
    about: str


def is_of_accuracies(frame: pd.DataFrame) -> bool:
    """Whether the frame is one of evaluations."""
    return {"accuracy", "macs_per_video", "latency_per_video_s"} <= set(frame.columns)


def draw_accuracies(spec: Costs, frame: pd.DataFrame) -> Drawing:
    """Draw the rows that have the cost, a panel for each name in their column `panel`.

    A family has one colour and marker in all panels.
    """
    panels = [str(name) for name in dict.fromkeys(frame["panel"])]
    shown = panels[: canvas.MAX_PANELS]
    measured = frame[frame["kind"] == "measured"]
    families = list(dict.fromkeys(measured["family"]))
    figure, all_axes = canvas.new_figure(shown, [*families, _WIDEST])
    for axes, panel in zip(all_axes, shown, strict=True):
        _draw(spec, axes, frame[frame["panel"] == panel], families)
    about = spec.about + (_PUBLISHED if (frame["kind"] == "published").any() else "")
    about += _BASELINE if measured["baseline"].notna().any() else ""
    rest = len(panels) - len(shown)
    about += f" {rest} more panels are in the table." if rest else ""
    return Drawing(figure=figure, caption=about)


def _draw(spec: Costs, axes: Axes, rows: pd.DataFrame, families: Sequence[str]) -> None:
    scale = scale_for(unit_of(spec.column), rows[spec.column])
    rows = rows.assign(x=rows[spec.column] / scale.size)
    canvas.log_axis(axes, rows["x"], spec.label.format(unit=scale.unit), axis="x")
    _set_height(axes, rows)
    axes.set_ylabel("accuracy (%)")
    is_published = rows["kind"] == "published"
    names = [_draw_published(axes, row, families) for row in _each(rows[is_published])]
    names += [_draw_measured(axes, row, families) for row in _each(rows[~is_published])]
    baselines = _draw_baselines(axes, rows)
    label_points(axes, names, keep_clear=baselines)
    _key(axes, rows, families, baselines)


def _each(rows: pd.DataFrame) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rows.to_dict("records")
    return found


def _look(family: str, families: Sequence[str]) -> tuple[str, str]:
    """Marker and colour of a family; one that was not measured is a circle in grey."""
    if family not in families:
        return "o", canvas.PUBLISHED
    i = families.index(family)
    # After a round of both the markers move on by one, so that no two families look alike.
    return _MARKERS[(i + i // len(_MARKERS)) % len(_MARKERS)], canvas.COLOURS[
        i % len(canvas.COLOURS)
    ]


def _draw_measured(axes: Axes, row: dict[str, Any], families: Sequence[str]) -> Point:
    marker, colour = _look(row["family"], families)
    x, (y, low, high) = row["x"], (100 * row[name] for name in ("accuracy", "low", "high"))
    axes.errorbar(
        [x],
        [y],
        yerr=[[y - low], [high - y]],
        linestyle="none",
        marker=marker,
        markersize=6.0,
        color=colour,
        elinewidth=1.2,
        capsize=2.5,
        zorder=3,
    )
    return Point(x=x, y=y, low=low, high=high, text=row["model"], colour=colour)


def _draw_published(axes: Axes, row: dict[str, Any], families: Sequence[str]) -> Point:
    marker, _ = _look(row["family"], families)
    x, y = row["x"], 100 * row["accuracy"]
    axes.plot(
        [x],
        [y],
        linestyle="none",
        marker=marker,
        markersize=5.5,
        color=canvas.PUBLISHED,
        markerfacecolor=canvas.PAPER,
        markeredgewidth=1.2,
        zorder=2,
    )
    return Point(
        x=x, y=y, low=y, high=y, text=row["model"], colour=canvas.PUBLISHED, is_optional=True
    )


def _set_height(axes: Axes, rows: pd.DataFrame) -> None:
    """Fit the points, and their baseline unless it would take most of the panel."""
    low, high = 100 * rows["low"].min(), 100 * rows["high"].max()
    span = max(high - low, _LEAST_SPAN)
    near = [100 * value for value in rows["baseline"].dropna() if low - 100 * value <= span]
    low, high = min([low, *near]), max([high, *near])
    pad = 0.1 * max(high - low, _LEAST_SPAN)
    axes.set_ylim(max(low - pad, -1.0), min(high + pad, 101.5))


def _draw_baselines(axes: Axes, rows: pd.DataFrame) -> list[float]:
    """A dotted line at each baseline that the panel reaches; gives their heights."""
    bottom, _ = axes.get_ylim()
    drawn = [percent for percent in _baselines(rows) if percent >= bottom]
    for percent in drawn:
        axes.axhline(percent, color=canvas.MUTED, linewidth=1.0, linestyle=_DOTTED, zorder=1)
    return drawn


def _baselines(rows: pd.DataFrame) -> list[float]:
    return sorted({round(100 * value, 1) for value in rows["baseline"].dropna()})


def _baseline_label(rows: pd.DataFrame, drawn: Sequence[float]) -> str:
    """Name the baselines; those far below the points are in the key alone."""
    percents = _baselines(rows)
    words = f"{percents[0]:g} %" if len(percents) == 1 else f"{percents[0]:g} to {percents[-1]:g} %"
    return f"baseline {words}" + ("" if len(drawn) == len(percents) else ", below")


def _key(axes: Axes, rows: pd.DataFrame, families: Sequence[str], drawn: Sequence[float]) -> None:
    """The panel's own families, and what is not measured, at its right."""
    here = set(rows.loc[rows["kind"] == "measured", "family"])
    handles = []
    for family in families:
        if family in here:
            marker, colour = _look(family, families)
            handles.append(_handle(canvas.label_text(family), marker=marker, color=colour))
    if (rows["kind"] == "published").any():
        hollow = {"color": canvas.PUBLISHED, "markerfacecolor": canvas.PAPER}
        handles.append(_handle("published", marker="o", **hollow))
    if _baselines(rows):
        look: dict[str, Any] = {"color": canvas.MUTED, "linewidth": 1.0, "linestyle": _DOTTED}
        handles.append(Line2D([], [], label=_baseline_label(rows, drawn), **look))
    axes.legend(
        handles=handles,
        loc="upper left",
        bbox_to_anchor=(1.005, 1.02),
        frameon=False,
        fontsize=canvas.LABEL_SIZE,
        handlelength=1.4,
        borderaxespad=0.0,
    )


def _handle(label: str, **look: Any) -> Line2D:
    return Line2D([], [], linestyle="none", markersize=6.0, label=label, **look)
