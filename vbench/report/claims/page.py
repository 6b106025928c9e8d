"""The report of claims: a verdict each, the numbers it rests on, and where they come from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import msgspec
import pandas as pd

from vbench.core.claims import Claim
from vbench.core.types import Record
from vbench.report import figures, provenance
from vbench.report.checks import Flag
from vbench.report.claims import Finding, Judgement, judged, untested
from vbench.report.claims.growth import exponents
from vbench.report.claims.growth_figure import growth_plot
from vbench.report.claims.points import points_in
from vbench.report.content import Content, as_csv
from vbench.report.derive import add_derived
from vbench.report.document import Report, write
from vbench.report.frame import to_frame
from vbench.report.plots import PLOTS, Plot
from vbench.report.tables import Table, from_headers, text

TITLE: Final = "Efficiency claims, tested"
_FIGURE1: Final = ("figure1", "attribution")


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A claim with its records and what was judged of them."""

    claim: Claim
    runs: tuple[provenance.Run, ...]
    frame: pd.DataFrame
    judgement: Judgement

    @property
    def records(self) -> list[Record]:
        """Latest record of every case."""
        return [record for run in self.runs for record in run.records]


def judge_claim(claim: Claim, run_dirs: Sequence[Path], *, missing: Sequence[str] = ()) -> Tested:
    """Judge a claim by the records of its run folders.

    Args:
        missing: Models of the claim that the zoo lacks; with one the claim cannot be tested.

    Raises:
        UsageError: A folder holds no records.
    """
    if missing:
        judgement = untested(claim, f"the zoo has no {', '.join(missing)}")
        return Tested(claim=claim, runs=(), frame=add_derived(to_frame([])), judgement=judgement)
    runs = provenance.read_runs(run_dirs)
    frame = add_derived(to_frame(record for run in runs for record in run.records))
    return Tested(claim=claim, runs=runs, frame=frame, judgement=judged(claim, points_in(frame)))


def as_data(all_tested: Sequence[Tested]) -> list[dict[str, Any]]:
    """The verdicts as JSON."""
    return [
        {
            "claim": one.claim.name,
            "title": one.claim.title,
            "statement": one.claim.statement,
            "source": one.claim.source,
            "note": one.claim.note,
            "parts": [
                {
                    "part": finding.part,
                    "says": one.claim.part(finding.part).says,
                    "verdict": str(finding.verdict),
                    "condition": finding.condition or None,
                    "found": finding.found,
                    "kind": finding.kind or None,
                }
                for finding in one.judgement.findings
            ],
        }
        for one in all_tested
    ]


def render(all_tested: Sequence[Tested], out_dir: Path, *, commands: Sequence[str]) -> Report:
    """Write README.md, index.html, figures and tables.

    Args:
        commands: What makes the same again.

    Raises:
        StoreError: Something cannot be written.
    """
    records = [record for one in all_tested for record in one.records]
    plots = [pair for one in all_tested for pair in _plots(one)]
    content = Content(
        title=TITLE,
        sentences=tuple(_sentences(all_tested)),
        flags=tuple(_flags(records)),
        figures=tuple(figures.render(plot, frame) for plot, frame in plots),
        tables=(verdicts_table(all_tested), *_tables(all_tested)),
        cases=provenance.cases_table(map(_without_data, records)),
        environment=provenance.environment_table(records),
        runs=tuple(
            replace(run, records=tuple(map(_without_data, run.records)))
            for one in all_tested
            for run in one.runs
        ),
        commands=tuple(commands),
    )
    data = [table for one in all_tested for table in one.judgement.data]
    extra = {f"tables/{table.name}.csv": as_csv(table).encode() for table in data}
    return write(content, out_dir, extra=extra)


def _sentences(all_tested: Sequence[Tested]) -> Iterator[str]:
    for one in all_tested:
        for finding in one.judgement.findings:
            says = one.claim.part(finding.part).says
            yield f"{one.claim.title}: {says} - {finding.text}{_kind(finding)}."


def _kind(finding: Finding) -> str:
    return f" ({finding.kind})" if finding.kind else ""


def verdicts_table(all_tested: Sequence[Tested]) -> Table:
    """A row a part: what was said, the verdict and its condition."""
    rows = [
        (
            text(one.claim.name),
            text(one.claim.part(finding.part).says),
            text(str(finding.verdict)),
            text(finding.condition),
            text(finding.kind),
        )
        for one in all_tested
        for finding in one.judgement.findings
    ]
    headers = ("claim", "says", "verdict", "condition", "kind")
    return from_headers("verdicts", "Verdicts", headers, rows)


def _tables(all_tested: Sequence[Tested]) -> Iterator[Table]:
    for one in all_tested:
        yield _claim_table(one)
        yield from (table for table in one.judgement.tables if table.rows)


def _claim_table(one: Tested) -> Table:
    """A claim as printed, and what was found of each of its parts."""
    said = {"stated": one.claim.statement, "source": one.claim.source, "note": one.claim.note}
    rows = [(text(what), text(words)) for what, words in said.items() if words]
    rows += [
        (text(f"{finding.part.replace('_', ' ')}: {finding.text}"), text(finding.found))
        for finding in one.judgement.findings
    ]
    return from_headers(f"claim_{one.claim.name}", one.claim.title, ("what", "words"), rows)


def _plots(one: Tested) -> Iterator[tuple[Plot, pd.DataFrame]]:
    """Figures of a claim, each with the frame that it is drawn from."""
    if one.frame.empty:
        return
    if one.claim.judge == "figure1":
        shown = one.frame[~one.frame["model"].str.startswith("timesformer_base")]
        plots = [PLOTS[name] for name in _FIGURE1]
        yield from ((plot, shown) for plot in plots if plot.applies(shown))
    if one.claim.judge == "growth":
        found = exponents(one.claim, points_in(one.frame))
        if found:
            yield growth_plot(found), one.frame


def _flags(records: Sequence[Record]) -> Iterator[Flag]:
    for record in records:
        if record.status != "ok":
            yield Flag(
                topic="no measurement", text=f"{record.case}: {record.status}: {record.error}"
            )


def _without_data(record: Record) -> Record:
    """The record without its tables by operator: no claim rests on them."""
    notes = {topic: note for topic, note in record.notes.items() if not note.startswith("{")}
    return msgspec.structs.replace(record, notes=notes)
