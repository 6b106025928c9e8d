"""`vbench audit`: published operation and parameter counts, counted again and explained."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vbench.cli import console, options
from vbench.cli.sweep import measure
from vbench.core.errors import UsageError
from vbench.core.printed import Printed

if TYPE_CHECKING:
    from vbench.measure.audit import Desk
    from vbench.report.audit import Entry

NAME = "audit"


def audit(
    models: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL...]", help="Names or patterns. Default: the whole zoo."),
    ] = None,
    results: options.Results = Path("results"),
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder of the report. Default: reports/audit; of some models only none.",
        ),
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Count what papers print again, on no device, and say what explains each difference.

    Ours, fvcore and thop count every published input; a row that agrees with none is tried at
    other common inputs, and listed as unexplained if that does not help.

    Example: vbench audit videomamba_tiny timesformer_base
    """
    from vbench.measure import audit as audits

    rows = audits.printed_counts(models or [])
    if not rows:
        raise UsageError(
            f"nothing is published of: {', '.join(models or [])}",
            hint="`vbench show MODEL` lists what is",
        )
    target = out or (None if models else Path("reports") / NAME)
    with audits.opened(results / NAME) as desk:
        entries = judged(desk, rows)
    from vbench.report import audit as report

    said = report.sentences(entries)
    if target is not None:
        report.render(entries, results / NAME, target, commands=[command(models, results, out)])
        console.note(f"report: {target / 'index.html'} and {target / 'README.md'}")
    if json:
        console.data({"sentences": said, "rows": [data(entry) for entry in entries]})
        return
    print_entries(entries)
    for sentence in said:
        console.note(sentence)


def judged(desk: "Desk", rows: Sequence[Printed]) -> "tuple[Entry, ...]":
    """Count every row's case, then other inputs of those that nothing explains."""
    from vbench.measure.audit import other_inputs
    from vbench.report.audit import judge, unsettled

    records = measure(desk.run(row.case for row in rows))
    others = other_inputs(unsettled(judge(rows, records)))
    if others:
        records = records + measure(desk.run(others))
    return judge(rows, records)


def command(models: Sequence[str] | None, results: Path, out: Path | None) -> str:
    """What was asked, as a line for a shell."""
    words = ["vbench", NAME, *(models or [])]
    words += ["--results", str(results)] if results != Path("results") else []
    words += ["--out", str(out)] if out else []
    return shlex.join(words)


def print_entries(entries: "Sequence[Entry]") -> None:
    """A line a published count, what is not equal first."""
    columns = ("model", "source", "printed", "counted", "verdict", "arithmetic")
    ordered = sorted(entries, key=lambda e: (e.verdict.is_settled, e.verdict.is_equal))
    rows = [
        (
            entry.row.case.model,
            f"{entry.row.source} {entry.row.location}",
            f"{entry.row.text} {entry.row.word or entry.row.metric}",
            "" if entry.verdict.counted is None else f"{entry.verdict.counted:.4g}",
            entry.verdict.text,
            entry.verdict.arithmetic,
        )
        for entry in ordered
    ]
    console.table(f"{len(rows)} published counts", columns, rows)


def data(entry: "Entry") -> dict[str, Any]:
    """A row as JSON, in base units."""
    return {
        "printed": entry.row,
        "counted": entry.verdict.counted,
        "ratio": entry.ratio,
        "verdict": [str(reason) for reason in entry.verdict.reasons],
        "expected": entry.verdict.expected,
        "arithmetic": entry.verdict.arithmetic,
        "record": None if entry.record is None else entry.record.case_id,
    }
