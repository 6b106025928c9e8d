"""What a report says, before it becomes Markdown or HTML."""

import csv
import io
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from vbench import __version__
from vbench.core.types import Case, Record, TimingSpec
from vbench.report import provenance
from vbench.report.checks import Flag, all_flags
from vbench.report.comparisons import attribution_table, exponents_table, ratio_table
from vbench.report.figures import Rendered
from vbench.report.provenance import common_notes
from vbench.report.sentences import headline
from vbench.report.tables import Table, detail_tables, main_tables

KINDS: Final = (
    "Measured numbers come from running the model, counted ones are exact without running it, "
    "estimated ones come from a model of the hardware, and published ones from a paper. They never "
    "share a column."
)
KINDS_NOTE: Final = f"{KINDS} Brackets hold the 95 % interval of the median."


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """Everything a rendered report holds.

    Attributes:
        note: What holds for all tables.
    """

    title: str
    sentences: tuple[str, ...]
    flags: tuple[Flag, ...]
    figures: tuple[Rendered, ...]
    tables: tuple[Table, ...]
    cases: Table
    environment: Table
    runs: tuple[provenance.Run, ...]
    commands: tuple[str, ...]
    note: str = KINDS_NOTE


def gather(
    title: str,
    runs: Sequence[provenance.Run],
    frame: pd.DataFrame,
    figures: Sequence[Rendered],
    commands: Sequence[str],
) -> Content:
    """Compute all parts.

    Args:
        frame: With derived rows.
    """
    records = [record for run in runs for record in run.records]
    tables = (
        *main_tables(frame),
        attribution_table(frame),
        ratio_table(frame),
        exponents_table(frame),
        *detail_tables(frame),
    )
    return Content(
        title=title,
        sentences=tuple(headline(frame)),
        flags=tuple(all_flags(runs, frame)),
        figures=tuple(figures),
        tables=tuple(table for table in tables if _has_content(table)),
        cases=provenance.cases_table(records),
        environment=provenance.environment_table(records),
        runs=tuple(runs),
        commands=tuple(commands),
    )


def _has_content(table: Table) -> bool:
    """Whether it says more than which rows there are."""
    has_kinds = any(column.group for column in table.columns)
    is_of_points = table.name.startswith(("main", "details"))
    return bool(table.rows) and (has_kinds or not is_of_points)


def as_csv(table: Table) -> str:
    """A table with whole values in base units."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([column.key for column in table.columns])
    writer.writerows([[_csv_value(cell.value) for cell in row] for row in table.rows])
    return file.getvalue()


def _csv_value(value: object) -> object:
    """A value that a spreadsheet does not take for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@") else value


def protocol(content: Content) -> list[tuple[str, str]]:
    """How the numbers were taken, as (what, how)."""
    records = [record for run in content.runs for record in run.records]
    cases = {record.case for record in records}
    return [
        *(_how_timed(cases) if _is_measured(records) else []),
        *([("seeds", ", ".join(sorted({str(case.seed) for case in cases})))] if cases else []),
        *((topic.replace("_", " "), note) for topic, note in common_notes(records).items()),
        ("rendered by", f"vbench {__version__}"),
    ]


def _is_measured(records: Iterable[Record]) -> bool:
    return any(taken.kind == "measured" for record in records for taken in record.measurements)


def _how_timed(cases: Collection[Case]) -> list[tuple[str, str]]:
    timings = sorted({_timing(case.timing) for case in cases})
    repeats = 1 + max((case.repeat for case in cases), default=0)
    return [
        ("timing", "; ".join(timings)),
        ("processes a point", str(repeats)),
        ("clips", "random, already on the device: decoding and transfer are not timed"),
    ]


def _timing(spec: TimingSpec) -> str:
    return (
        f"{spec.warmup_iters} to {spec.max_warmup_iters} warm-up steps until stable, then at least "
        f"{spec.min_iters} samples and {spec.min_duration_s:g} s, until the 95 % interval of the "
        f"median is within {spec.half_width_percent:g} % or {spec.max_duration_s:g} s have passed"
    )
