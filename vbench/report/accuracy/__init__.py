"""Folders of `vbench eval` -> a report of accuracies beside what they cost.

Sweeps that are named with them follow in the same report.
"""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from vbench.core.evaluations import EVALUATION_FILE, SUMMARY_FILE, PublishedPoint
from vbench.core.units import plain
from vbench.report import document, figures, provenance
from vbench.report.accuracy import words
from vbench.report.accuracy.found import Evaluation, read_evaluations, to_frame
from vbench.report.accuracy.tables import accuracy_table, published_table, scores_table
from vbench.report.content import KINDS, Content
from vbench.report.document import Report
from vbench.report.plots import PLOTS

OWN_PLOTS: Final = ("accuracy_by_macs", "accuracy_by_latency")
_NOTE: Final = f"{KINDS} Brackets hold 95 % intervals, of an accuracy or of a median."


def is_evaluation(run_dir: Path) -> bool:
    """Whether `vbench eval` wrote the folder; it may hold a cost record as a sweep does."""
    return any((run_dir / name).exists() for name in (EVALUATION_FILE, SUMMARY_FILE))


def render(
    run_dirs: Sequence[Path],
    out_dir: Path,
    *,
    title: str | None = None,
    plots: Sequence[str] | None = None,
    published: Iterable[PublishedPoint] = (),
) -> Report:
    """Write the report of evaluations, and of sweeps named with them.

    Args:
        run_dirs: At least one of an evaluation.
        out_dir: Where to; files of an earlier report that this one does not write are removed.
        title: By default the names of the runs.
        plots: Names of the figures to draw where they apply; None for all.
        published: Points that are shown where dataset and views are those of an evaluation.

    Raises:
        UsageError: Records or summaries are missing or of another schema, or a plot is unknown.
        StoreError: Something cannot be read or written.
    """
    found = read_evaluations(path for path in run_dirs if is_evaluation(path))
    content = _content(found, tuple(published), plots)
    extra: dict[str, bytes] = {}
    sweeps = [path for path in run_dirs if not is_evaluation(path)]
    if sweeps:
        other, extra = document.gathered(sweeps, out_dir, plots=plots)
        content = _joined(content, other)
    names = ", ".join(run.name for run in content.runs)
    folders = " ".join(shlex.quote(str(run.path)) for run in content.runs)
    command = f"vbench report {folders} --out {shlex.quote(str(out_dir))}"
    commands = (*content.commands, command)
    content = replace(content, title=plain(title or names), commands=commands)
    return document.write(content, out_dir, extra=extra)


def _content(
    found: Sequence[Evaluation], published: Sequence[PublishedPoint], plots: Sequence[str] | None
) -> Content:
    frame = to_frame(found, published)
    drawn = [PLOTS[name] for name in plots or OWN_PLOTS]
    records = [record for one in found for record in one.run.records]
    tables = (accuracy_table(found), scores_table(found), published_table(found, published))
    return Content(
        title="",
        sentences=tuple(words.sentences(found)),
        flags=tuple(words.flags(found)),
        figures=tuple(
            figures.render(plot, frame)
            for plot in drawn
            if plot.name in OWN_PLOTS and plot.applies(frame)
        ),
        tables=tuple(table for table in tables if table.rows),
        cases=provenance.cases_table(records),
        environment=provenance.environment_table(records),
        runs=tuple(one.run for one in found),
        commands=(),
        note=_NOTE,
    )


def _joined(first: Content, second: Content) -> Content:
    """Both in one, the first's parts first."""
    records = [
        record for content in (first, second) for run in content.runs for record in run.records
    ]
    return Content(
        title=first.title,
        sentences=(*first.sentences, *second.sentences),
        flags=(*first.flags, *second.flags),
        figures=(*first.figures, *second.figures),
        tables=(*first.tables, *second.tables),
        cases=provenance.cases_table(records),
        environment=provenance.environment_table(records),
        runs=(*first.runs, *second.runs),
        commands=second.commands[:-1],
        note=first.note,
    )
