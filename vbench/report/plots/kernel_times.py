"""Forms of each kernel against the length of their input: how far ours are from the floor."""

from typing import Any, Final

import pandas as pd
from matplotlib.axes import Axes

from vbench.core.units import Scale, scale_for
from vbench.report import canvas
from vbench.report.plots import Drawing, plot

_LOOKS: Final[dict[str, dict[str, Any]]] = {
    "reference": {"linestyle": (0, (3.2, 1.8)), "marker": "s"},
    "peer": {"linestyle": (0, (1, 1.4)), "marker": "^"},
    "ours": {"linestyle": "-", "marker": "o"},
    "floor": {"linestyle": (0, (7, 1.5)), "marker": "none"},
    "yardstick": {"linestyle": (0, (4, 1.2, 1, 1.2)), "marker": "none"},
}
_CLOCKS: Final = {
    "cpu": "CPU time of one thread",
    "wall": "wall time",
    "cuda": "CUDA events",
}


@plot(
    title="Kernels by input length",
    applies=lambda frame: {"form", "role"} <= set(frame.columns),
    order=60,
)
def kernel_times(frame: pd.DataFrame) -> Drawing:
    """Draw each kernel's forms over the number of tokens, a panel a kernel and batch."""
    counts = sorted(set(frame["num_threads"]))
    frame = frame[frame["num_threads"] == counts[0]]
    panels = list(frame.groupby(["kernel", "batch_size"], sort=False))[: canvas.MAX_PANELS]
    titles = [f"{kernel.replace('_', ' ')}, batch {batch}" for (kernel, batch), _ in panels]
    figure, all_axes = canvas.new_figure(titles, frame["form"], height_in=2.8)
    for axes, (_, rows) in zip(all_axes, panels, strict=True):
        _draw(axes, rows)
    first = frame.iloc[0]
    rest = frame.groupby(["kernel", "batch_size"]).ngroups - len(panels)
    more = f" {rest} more panels are in the table." if rest else ""
    if len(counts) > 1:
        more += f" So are times on {', '.join(map(str, counts[1:]))} threads."
    return Drawing(
        figure=figure,
        caption=(
            "Median time of one call. Solid: ours; dashed: the plain reference; dotted: another "
            "implementation; long dashes: the floor, which only moves the operands (attention: "
            "only multiplies as much); dash and dot: a part of the work done by torch, which a "
            f"form may beat. {first['place']}, {_threads(first['num_threads'])}, "
            f"{_CLOCKS[first['clock']]}.{more}"
        ),
    )


def _draw(axes: Axes, rows: pd.DataFrame) -> None:
    scale = scale_for("s", rows["median_s"])
    ends = []
    for i, (form, line) in enumerate(rows.groupby("form", sort=False)):
        colour = _colour(line["role"].iloc[0], i)
        _draw_line(axes, line, scale, colour)
        last = line.iloc[-1]
        ends.append(
            canvas.End(
                x=last["num_tokens"],
                y=last["median_s"] / scale.size,
                text=str(form),
                colour=colour,
            )
        )
    canvas.log_axis(axes, rows["median_s"] / scale.size, f"time of a call ({scale.unit})")
    canvas.count_axis(axes, rows["num_tokens"], "tokens")
    canvas.label_ends(axes, ends)


def _draw_line(axes: Axes, line: pd.DataFrame, scale: Scale, colour: str) -> None:
    if line["low_s"].notna().all():
        low, high = line["low_s"] / scale.size, line["high_s"] / scale.size
        axes.fill_between(line["num_tokens"], low, high, color=colour, alpha=0.15, linewidth=0)
    look = _LOOKS[line["role"].iloc[0]]
    axes.plot(line["num_tokens"], line["median_s"] / scale.size, color=colour, **look)


def _colour(role: str, index: int) -> str:
    if role in ("floor", "yardstick"):
        return canvas.PUBLISHED
    return canvas.COLOURS[index % len(canvas.COLOURS)]


def _threads(count: int) -> str:
    return "1 CPU thread" if count == 1 else f"{count} CPU threads"
