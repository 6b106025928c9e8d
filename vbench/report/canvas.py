"""The look of every figure: sizes, colours, axes, and labels at the ends of lines.

Colour is the model, line style the attention backend, marker the kind of number. No difference
rests on colour alone; the colours are Okabe and Ito's and Tol's, which colour-blind readers tell
apart. Text and background use a few fixed shades that the HTML page exchanges in dark mode.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from vbench.core.metrics import Kind

INK: Final = "#20242c"
MUTED: Final = "#6b7280"
GRID: Final = "#e3e6ea"
PAPER: Final = "#ffffff"
PUBLISHED: Final = "#858c98"
FONT: Final = "DejaVu Sans"
BLUE, VERMILION, GREEN, PINK = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
ORANGE, SKY, WINE, OLIVE = "#e69f00", "#56b4e9", "#882255", "#999933"
COLOURS: Final = (BLUE, VERMILION, GREEN, PINK, ORANGE, SKY, WINE, OLIVE)
DASHES: Final[dict[str, Any]] = {
    "none": "-",
    "sdpa": "-",
    "flash": (0, (7, 1.5)),
    "cudnn": (0, (7, 1.5, 1, 1.5)),
    "efficient": (0, (4, 1.2, 1, 1.2, 1, 1.2)),
    "math": (0, (1, 1.4)),
    "eager": (0, (3.2, 1.8)),
}
BACKENDS: Final = {
    "sdpa": "fused (sdpa)",
    "eager": "materialised (eager)",
    "none": "no attention",
}
STYLE: Final[Any] = {
    "font.family": FONT,
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a model's name may hold a dollar sign
    "axes.edgecolor": MUTED,
    "axes.facecolor": PAPER,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titley": 1.0,  # where it would be anyway; else every tick label is measured to find out
    "axes.unicode_minus": False,
    "figure.facecolor": PAPER,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "lines.linewidth": 1.7,
    "lines.markersize": 5.0,
    "lines.solid_capstyle": "round",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
}
LABEL_SIZE: Final = 8.5
_LABEL_GAP_PT: Final = 11.5
_CHARACTER_IN: Final = 0.073
_MARGINS_IN: Final = {"left": 0.8, "bottom": 0.52, "top": 0.38, "key": 0.34}
_PANEL_IN: Final = {1: 4.4, 2: 3.0}
MAX_PANELS: Final = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class End:
    """A text to be set beside the end of a line, in data coordinates."""

    x: float
    y: float
    text: str
    colour: str


def label_text(text: str, limit: int = 36) -> str:
    """Make text that the font can show: ASCII, shortened in the middle."""
    shown = text.encode("ascii", "replace").decode()
    if len(shown) <= limit:
        return shown
    half = (limit - 3) // 2
    return f"{shown[:half]}...{shown[-half:]}"


def colours_of(frame: pd.DataFrame) -> dict[str, str]:
    """A colour for each model, in the order of the records; beyond eight they repeat."""
    models = list(dict.fromkeys(frame["model"]))
    return {model: COLOURS[i % len(COLOURS)] for i, model in enumerate(models)}


def new_figure(
    titles: Sequence[str], labels: Iterable[str], *, height_in: float = 3.2
) -> tuple[Figure, list[Axes]]:
    """Panels in two columns with room for the labels at their right and a key below.

    Args:
        titles: One a panel, or all empty.
        labels: The longest decides the room.
    """
    num_panels = len(titles)
    room = 0.35 + _CHARACTER_IN * max((len(label_text(label)) for label in labels), default=0)
    columns = min(num_panels, 2)
    width_in = _PANEL_IN[columns]
    rows = math.ceil(num_panels / columns)
    cell_w = _MARGINS_IN["left"] + width_in + room
    top = _MARGINS_IN["top"] if any(titles) else 0.1
    cell_h = _MARGINS_IN["bottom"] + height_in + top
    total_w, total_h = columns * cell_w, rows * cell_h + _MARGINS_IN["key"]
    figure = Figure(figsize=(total_w, total_h))
    panels = []
    for i in range(num_panels):
        left = (i % columns) * cell_w + _MARGINS_IN["left"]
        bottom = total_h - (i // columns + 1) * cell_h + _MARGINS_IN["bottom"]
        axes = figure.add_axes(
            (left / total_w, bottom / total_h, width_in / total_w, height_in / total_h)
        )
        axes.set_title(label_text(titles[i], 64), color=MUTED)
        panels.append(axes)
    return figure, panels


def marker_of(kind: Kind, colour: str) -> dict[str, Any]:
    """Filled where measured or counted; where estimated, hollow and wide enough to lie around."""
    is_estimate = kind == "estimated"
    return {
        "marker": "s" if kind == "counted" else "o",
        "markersize": 6.5 if is_estimate else 5.0,
        "linewidth": 1.2 if is_estimate else 1.8,
        "zorder": 2.5 if is_estimate else 3.0,
        "markerfacecolor": PAPER if is_estimate else colour,
        "markeredgecolor": colour,
        "markeredgewidth": 1.3,
    }


PUBLISHED_MARKER: Final[dict[str, Any]] = {
    "marker": "x",
    "markersize": 5.5,
    "markeredgewidth": 1.4,
    "color": PUBLISHED,
    "linestyle": "none",
}


def count_axis(axes: Axes, counts: Iterable[int], label: str) -> None:
    """A logarithmic axis of whole numbers, ticks where there are points."""
    ticks = sorted(set(counts))
    axes.set_xscale("log", base=2)
    if len(ticks) > 6:
        ticks = [tick for tick in ticks if tick & (tick - 1) == 0] or ticks[:: len(ticks) // 5]
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(label)
    if len(set(counts)) > 1:
        low, high = axes.get_xlim()
        axes.set_xlim(low * 0.97, high)


def log_axis(
    axes: Axes, values: Iterable[float], label: str, *, axis: str = "y", room: float = 0.0
) -> None:
    """A logarithmic axis with plain numbers at its ticks.

    Args:
        room: Decades to leave free at the low end.
    """
    positive = [value for value in values if value > 0]
    if not positive:
        return
    span = math.log10(max(positive) / min(positive))
    pad = 10 ** (0.08 + 0.05 * span)
    low, high = min(positive) / pad / 10**room, max(positive) * pad
    subs = (1.0,) if span > 3.5 else (1.0, 3.0) if span > 1.5 else (1.0, 2.0, 5.0)
    ticks = axes.yaxis if axis == "y" else axes.xaxis
    if axis == "y":
        axes.set_yscale("log")
        axes.set_ylim(low, high)
        axes.set_ylabel(label)
    else:
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.set_xlabel(label)
    ticks.set_major_locator(LogLocator(base=10, subs=subs, numticks=20))
    ticks.set_major_formatter(FuncFormatter(lambda value, _: _tick(value)))
    ticks.set_minor_locator(NullLocator())


def _tick(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def label_ends(axes: Axes, ends: Sequence[End]) -> None:
    """Set each text to the right of the panel at its line's height, moved where they would touch.

    The limits of the axes must be final.
    """
    if not ends:
        return
    height_pt = axes.get_window_extent().height / axes.figure.dpi * 72
    points = [
        axes.transAxes.inverted().transform(axes.transData.transform((end.x, end.y)))
        for end in ends
    ]
    order = sorted(range(len(ends)), key=lambda i: points[i][1])
    wanted = [points[i][1] * height_pt for i in order]
    gap = min(_LABEL_GAP_PT, height_pt / max(len(ends) - 1, 1))
    placed = spread(wanted, gap=gap, low=0.0, high=height_pt)
    for i, y_pt in zip(order, placed, strict=True):
        x, y = points[i]
        axes.plot(
            [x + 0.012, 1.015],
            [y, y_pt / height_pt],
            transform=axes.transAxes,
            color=ends[i].colour,
            linewidth=0.6,
            alpha=0.7,
            clip_on=False,
        )
        axes.text(
            1.025,
            y_pt / height_pt,
            label_text(ends[i].text),
            transform=axes.transAxes,
            color=ends[i].colour,
            fontsize=min(LABEL_SIZE, 0.75 * gap),
            va="center",
        )


def spread(wanted: Sequence[float], *, gap: float, low: float, high: float) -> list[float]:
    """Positions at least `gap` apart, as near to the sorted `wanted` ones as that allows.

    >>> spread([5.0, 5.0, 30.0], gap=10.0, low=0.0, high=100.0)
    [0.0, 10.0, 30.0]
    """
    blocks: list[tuple[float, int]] = []  # (sum of wanted starts, how many)
    for i, value in enumerate(wanted):
        blocks.append((value - i * gap, 1))
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            (total_b, count_b), (total_a, count_a) = blocks.pop(), blocks.pop()
            blocks.append((total_a + total_b, count_a + count_b))
    starts = [_mean(block) for block in blocks for _ in range(block[1])]
    top = max(low, high - gap * (len(wanted) - 1))
    return [min(max(start, low), top) + i * gap for i, start in enumerate(starts)]


def _mean(block: tuple[float, int]) -> float:
    return block[0] / block[1]


def mark_failures(axes: Axes, failures: Sequence[tuple[int, str, str]], *, at_top: bool) -> None:
    """A cross at the edge for each point that did not finish, and in words why.

    Args:
        failures: (x, colour, words), one a line and point.
        at_top: Where a failed point would lie: memory above, throughput below.
    """
    stacked: dict[int, int] = {}
    named: set[str] = set()
    for x, colour, words in sorted(failures):
        level = stacked.get(x, 0)
        stacked[x] = level + 1
        y = 0.97 - 0.045 * level if at_top else 0.03 + 0.045 * level
        axes.plot(
            [x],
            [y],
            transform=axes.get_xaxis_transform(),
            marker="X",
            markersize=6.5,
            color=colour,
            markeredgecolor=PAPER,
            markeredgewidth=0.6,
            linestyle="none",
            clip_on=False,
            zorder=5,
        )
        if words not in named:
            named.add(words)
            axes.annotate(
                words,
                (x, y),
                xycoords=axes.get_xaxis_transform(),
                xytext=(-7, 0),
                textcoords="offset points",
                ha="right",
                va="center",
                fontsize=LABEL_SIZE - 0.5,
                color=MUTED,
            )


def style_key(
    figure: Figure, kinds: Iterable[str], backends: Iterable[str], *, failed: bool = False
) -> None:
    """One row below the panels that explains markers and line styles."""
    handles = [
        Line2D([], [], linestyle=DASHES[name], color=INK, label=BACKENDS.get(name, name))
        for name in dict.fromkeys(backends)
        if name != "none"
    ]
    for kind in dict.fromkeys(kinds):
        look = PUBLISHED_MARKER if kind == "published" else marker_of(kind, INK)  # type: ignore[arg-type]
        handles.append(Line2D([], [], label=kind, **{"linestyle": "none", **look}))
    if failed:
        handles.append(
            Line2D([], [], linestyle="none", marker="X", color=INK, label="did not finish")
        )
    figure.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0.5 / figure.get_figwidth(), 0.0),
        ncols=len(handles),
        frameon=False,
        fontsize=LABEL_SIZE,
        handlelength=2.4,
        columnspacing=1.6,
    )
