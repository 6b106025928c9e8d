"""Tables: what each cell says and means. How they look is for Markdown and HTML to decide.

A column belongs to one kind of number: measured, estimated, counted or published.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import pandas as pd

from vbench.core.units import Scale, number, scale_for
from vbench.report import published
from vbench.report.frame import points, precision_label
from vbench.report.metrics import HEADLINE, name_of, order_of
from vbench.report.series import FAILURES, describe, size_label

KINDS: Final = ("measured", "estimated", "counted", "published")
MISSING: Final = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """A column.

    Attributes:
        key: Name in the CSV file, in base units.
        header: Title with the shown unit.
        group: Kind of its numbers; empty for what names a row.
    """

    key: str
    header: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """What is shown and the value it stands for, in base units; None where there is none."""

    text: str
    value: float | int | str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A named table.

    Attributes:
        note: What holds for all of its rows.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""


EMPTY: Final = Cell(MISSING)


def text(value: object) -> Cell:
    """A cell that is what it says."""
    return Cell(str(value), str(value))


def from_headers(
    name: str,
    title: str,
    headers: Sequence[str],
    rows: Iterable[tuple[Cell, ...]],
    *,
    note: str = "",
) -> Table:
    """A table without kinds, its keys made from its headers."""
    columns = (
        Column(key=re.sub(r"[^a-z0-9]+", "_", header.lower()).strip("_"), header=header)
        for header in headers
    )
    return Table(name=name, title=title, columns=tuple(columns), rows=tuple(rows), note=note)


def without_empty_columns(table: Table) -> Table:
    """Leave out columns that say nothing in any row."""
    kept = [
        i for i in range(len(table.columns)) if not table.rows or any(r[i].text for r in table.rows)
    ]
    return replace(
        table,
        columns=tuple(table.columns[i] for i in kept),
        rows=tuple(tuple(row[i] for i in kept) for row in table.rows),
    )


def integer(value: int) -> Cell:
    """A cell of a whole number."""
    return Cell(f"{value}", value)


def main_tables(frame: pd.DataFrame) -> list[Table]:
    """The chosen metrics of every point by kind, beside what was published; one a device."""
    return [
        _with_published(_by_point(rows, HEADLINE, name=f"main{ending}", title=title), rows)
        for title, ending, rows in _by_place(frame, "Results")
    ]


def detail_tables(frame: pd.DataFrame) -> list[Table]:
    """Every metric that the main tables leave out, known or not; one a device."""
    tables = []
    for title, ending, rows in _by_place(frame, "All other metrics"):
        rest = set(rows["metric"].dropna()) - set(HEADLINE)
        ordered = sorted(rest, key=order_of)
        tables.append(_by_point(rows, ordered, name=f"details{ending}", title=title))
    return tables


def _by_place(frame: pd.DataFrame, title: str) -> Iterator[tuple[str, str, pd.DataFrame]]:
    places = list(dict.fromkeys(frame["place"]))
    for i, place in enumerate(places, start=1):
        ending = f"_{i}" if len(places) > 1 else ""
        yield f"{title}: {place}", ending, frame[frame["place"] == place]


def _by_point(frame: pd.DataFrame, metrics: Sequence[str], *, name: str, title: str) -> Table:
    every = points(frame)
    labels, label_rows = _labels(every)
    columns, cells = list(labels), [list(row) for row in label_rows]
    by_kind = sorted(
        ((kind, metric) for kind, metric in _kinds(frame, metrics)),
        key=lambda pair: KINDS.index(pair[0]),
    )
    for kind, metric in by_kind:
        rows = frame[(frame["metric"] == metric) & (frame["kind"] == kind)].set_index("point_id")
        scale = scale_for(rows["unit"].iloc[0], rows["median"])
        columns.append(Column(key=metric, header=_header(name_of(metric), scale.unit), group=kind))
        found = {
            key: Cell(scale.interval(m, low, high), m)
            for key, m, low, high in zip(
                rows.index, rows["median"], rows["low"], rows["high"], strict=True
            )
        }
        for row, key in zip(cells, every["point_id"], strict=True):
            row.append(found.get(key, EMPTY))
    return Table(
        name=name,
        title=title,
        columns=tuple(columns),
        rows=tuple(tuple(row) for row in cells),
        note=f"All rows: {common_conditions(every)}",
    )


def _kinds(frame: pd.DataFrame, metrics: Sequence[str]) -> Iterable[tuple[str, str]]:
    for metric in metrics:
        for kind in frame.loc[frame["metric"] == metric, "kind"].unique():
            yield kind, metric


def _header(name: str, unit: str) -> str:
    return f"{name} ({unit})" if unit else name


def _labels(every: pd.DataFrame) -> tuple[list[Column], list[list[Cell]]]:
    """Columns that tell the points apart: always model and frames, others where they vary."""
    varying = {
        "resolution": every["height_px"].nunique() + every["width_px"].nunique() > 2,
        "precision": every["precision"].nunique() + every["autocast"].nunique() > 2,
        "status": bool((every["status"] != "ok").any()),
        "kernels": len(_kernels(every)) > 1,
    } | {
        name: every[name].nunique() > 1
        for name in ("attention", "batch", "mode", "compile", "cudagraph", "place")
    }
    names = ["model", "frames", *(name for name in _OPTIONAL if varying[name])]
    columns = [Column(key=name, header=_OPTIONAL.get(name, name)) for name in names]
    return columns, [[_label(row, name) for name in names] for _, row in every.iterrows()]


_OPTIONAL: Final = {
    "attention": "attention",
    "resolution": "resolution",
    "batch": "batch",
    "precision": "precision",
    "mode": "mode",
    "compile": "compiled",
    "cudagraph": "CUDA graph",
    "kernels": "kernels",
    "place": "device",
    "status": "status",
}


def _label(row: pd.Series, name: str) -> Cell:
    if name == "frames":
        return integer(int(row["num_frames"]))
    if name == "resolution":
        return text(size_label(int(row["height_px"]), int(row["width_px"])))
    if name == "precision":
        return text(precision_label(row["precision"], row["autocast"]))
    if name == "batch":
        return _batch(row)
    if name == "status":
        return text(FAILURES.get(row["status"], row["status"]))
    if name in ("compile", "cudagraph"):
        return text("yes" if row[name] else "no")
    return text(row[name])


def _batch(row: pd.Series) -> Cell:
    if pd.isna(row["batch_size"]):
        return text("auto")
    size = int(row["batch_size"])
    return Cell(f"{size} (auto)" if row["batch"] == "auto" else f"{size}", size)


def common_conditions(every: pd.DataFrame) -> str:
    """Name what all points share; empty for none of them."""
    if every.empty:
        return ""
    same = [
        name
        for name in ("place", "mode", "compile", "cudagraph", "batch")
        if every[name].nunique() == 1
    ]
    if every["precision"].nunique() + every["autocast"].nunique() == 2:
        same += ["precision"]
    if every["height_px"].nunique() + every["width_px"].nunique() == 2:
        same += ["height_px"]
    kernels = _kernels(every)
    shared = [describe(every, same)] if same else []
    shared += [*kernels] if len(kernels) == 1 else []
    return ", ".join(filter(None, shared))


def _kernels(every: pd.DataFrame) -> set[str]:
    """What the points that finished say of their kernels."""
    return set(every.loc[every["status"] == "ok", "kernels"])


def _with_published(table: Table, frame: pd.DataFrame) -> Table:
    known = published.figure1().set_index(["model", "attention", "num_frames"])
    every = points(frame)
    cells = []
    for key, row in zip(
        zip(every["model"], every["attention"], every["num_frames"], strict=True),
        every.itertuples(),
        strict=True,
    ):
        if key in known.index and (row.mode, row.height_px, row.width_px) == (
            "inference",
            224,
            224,
        ):
            memory = float(known.loc[key, "memory_per_clip_bytes"])
            clips = float(known.loc[key, "clips_per_s"])
            cells.append((Cell(_MIB.number(memory), memory), Cell(number(clips), clips)))
        else:
            cells.append((EMPTY, EMPTY))
    if all(pair == (EMPTY, EMPTY) for pair in cells):
        return table
    columns = (
        Column(
            key="published_reserved_per_clip_bytes",
            header="activation memory a clip, reserved (MiB)",
            group="published",
        ),
        Column(
            key="published_throughput_clips_per_s",
            header="throughput (clips/s)",
            group="published",
        ),
    )
    return Table(
        name=table.name,
        title=table.title,
        columns=(*table.columns, *columns),
        rows=tuple((*row, *pair) for row, pair in zip(table.rows, cells, strict=True)),
        note=f"{table.note}. Published: {published.SOURCE}",
    )


_MIB: Final = Scale(unit="MiB", size=2.0**20)
