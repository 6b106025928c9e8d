"""Tables that set curves against each other: growth, ratios, and what a ratio is made of."""

from typing import Final

import pandas as pd

from vbench.core.units import number, times, with_unit
from vbench.report import published
from vbench.report.frame import points
from vbench.report.ratios import Attribution, Curve, Quantity, attribution, curves, fit_growth
from vbench.report.ratios import ratios as all_ratios
from vbench.report.scaling import PowerLaw
from vbench.report.series import panels
from vbench.report.tables import (
    EMPTY,
    Cell,
    Table,
    common_conditions,
    from_headers,
    text,
)

QUANTITIES: Final[tuple[Quantity, ...]] = ("memory", "time")
_CLAIMS: Final[dict[Quantity, tuple[str, float, str]]] = {
    "activations": (
        "memory above weights and clips",
        published.CLAIMED_MEMORY_RATIO,
        "memory_gib",
    ),
    "time": (
        "time a clip",
        published.CLAIMED_THROUGHPUT_RATIO,
        "clips_per_s",
    ),
}


def exponents_table(frame: pd.DataFrame) -> Table:
    """How memory and time grow with the frame count T, curve by curve."""
    headers = [
        "curve",
        "conditions",
        "quantity",
        "kind",
        "law",
        "exponent p",
        "95 % interval of p",
        "constant a",
        "worst misfit (%)",
        "frames fitted",
    ]
    rows = [
        _exponent_row(curve, panel.title, law)
        for panel in panels(frame)
        for quantity in QUANTITIES
        for members in curves(panel, quantity).values()
        for curve in members
        if (law := fit_growth(curve)) is not None
    ]
    note = (
        "Memory is fitted with a constant where four frame counts or more were taken, time "
        "without. The interval says how well one power describes the points; it holds over the "
        "frames fitted and says nothing beyond them"
    )
    return from_headers("exponents", "Growth with the frame count T", headers, rows, note=note)


def _exponent_row(curve: Curve, conditions: str, law: PowerLaw) -> tuple[Cell, ...]:
    constant = Cell(with_unit(law.offset, "B"), law.offset)
    low, high = law.low, law.high
    interval = "exact fit" if low is None or high is None else f"{low:.2f} to {high:.2f}"
    return (
        text(curve.line.label),
        text(conditions),
        text(curve.quantity),
        text(curve.kind),
        text("a + b T^p" if law.has_free_offset else "b T^p"),
        Cell(f"{law.exponent:.2f}", law.exponent),
        text(interval),
        constant if law.has_free_offset else EMPTY,
        Cell(f"{law.worst_percent:.1f}", law.worst_percent),
        text(", ".join(map(str, sorted(curve.costs)))),
    )


def ratio_table(frame: pd.DataFrame) -> Table:
    """Memory and time of every curve over one reference's, by frames, at equal settings."""
    found = [ratio for quantity in QUANTITIES for ratio in all_ratios(frame, quantity)]
    frames = sorted({x for ratio in found for x in ratio.by_frames})
    rows = [
        (
            text(ratio.curve.line.label),
            text(ratio.reference.line.label),
            text(ratio.panel.title),
            text(ratio.curve.quantity),
            text(ratio.curve.kind),
            *(
                Cell(number(ratio.by_frames[x]), ratio.by_frames[x])
                if x in ratio.by_frames
                else EMPTY
                for x in frames
            ),
        )
        for ratio in found
    ]
    headers = ["curve", "over", "conditions", "quantity", "kind"]
    headers += [f"T = {x}" for x in frames]
    note = "By frame count T; above 1 the curve costs more than what it is held against"
    conditions = common_conditions(points(frame))
    return from_headers(
        "ratios",
        "Cost over the reference's",
        headers,
        rows,
        note=f"{note}. {conditions}" if conditions else note,
    )


def attribution_table(frame: pd.DataFrame) -> Table:
    """What the published ratios are made of, as multipliers that give the total."""
    rows: list[tuple[Cell, ...]] = []
    for quantity in _CLAIMS:
        found = attribution(frame, quantity)
        if found is not None:
            rows += _attribution_rows(found)
    headers = ["ratio", "path", "change", "multiplier", "product so far", "kind"]
    note = (
        "Each path goes from VideoMamba-Ti to TimeSformer-Ti with joint attention and a "
        "materialised matrix, one change at a time. The order of the changes matters: a "
        "materialised matrix costs little within a frame and much across all tokens of a clip"
    )
    title = "What the published ratio is made of: TimeSformer-Ti over VideoMamba-Ti"
    return from_headers("attribution", title, headers, rows, note=note)


def _attribution_rows(found: Attribution) -> list[tuple[Cell, ...]]:
    title, claim, column = _CLAIMS[found.quantity]
    named = text(f"{title}, {found.num_frames} frames")
    rows: list[tuple[Cell, ...]] = []
    for path, steps in found.paths.items():
        product = 1.0
        for step in steps:
            product *= step.multiplier
            rows.append(
                (
                    named,
                    text(path),
                    text(step.change),
                    Cell(f"x {number(step.multiplier)}", step.multiplier),
                    Cell(number(product), product),
                    text(found.kind),
                )
            )
    at = f"{title}, {published.CLAIM_FRAMES} frames"
    digitised = published.published_ratio(column)
    for change, value in (
        ("claimed in the text", claim),
        ("read off Figure 1", digitised),
    ):
        rows.append(
            (text(at), EMPTY, text(change), EMPTY, Cell(times(value), value), text("published"))
        )
    return rows
