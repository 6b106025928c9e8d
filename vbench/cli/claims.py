"""`vbench claims`: what the founding works claim of efficiency, tested."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vbench.cli import console, options
from vbench.cli.sweep import fail_unless_all_ok, measure
from vbench.core.claims import Claim, load_claims
from vbench.core.types import Record

if TYPE_CHECKING:
    from vbench.report.claims.page import Tested

NAME = "claims"
COLUMNS = ("says", "verdict", "condition", "found", "kind")


def claims(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME...]", help="Claims, such as growth. Default: all."),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            "--device", metavar="D", help="auto: a GPU if there is one, else meta; cuda:I, meta."
        ),
    ] = "auto",
    results: options.Results = Path("results"),
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="DIR",
            help="Folder of the report. Default: reports/claims; of some claims only none.",
        ),
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Test the efficiency claims of the founding works, and give each a verdict.

    Holds, holds only if, does not hold, or cannot be tested here: computed from points that are
    measured on a GPU or estimated without one. The same command resumes an interrupted run.

    Example: vbench claims videomamba_figure1 --device meta
    """
    from vbench.measure.claims import device_for

    chosen = load_claims(names or [])
    found_device = device_for(device)
    taken = [take(claim, device=found_device, results=results) for claim in chosen]
    tested = [one for one, _ in taken]
    target = out or (None if names else Path("reports") / NAME)
    if target is not None:
        from vbench.report.claims.page import render

        with console.status("drawing"):
            render(tested, target, commands=[command(names, device, results, out)])
        console.note(f"report: {target / 'index.html'} and {target / 'README.md'}")
    show(tested, json=json)
    fail_unless_all_ok([record for _, records in taken for record in records])


def take(claim: Claim, *, device: str, results: Path) -> "tuple[Tested, list[Record]]":
    """Take the points of a claim that are missing, and judge it."""
    from vbench.measure.claims import missing_models, opened_sweep

    records: list[Record] = []
    run_dirs: list[Path] = []
    missing = missing_models(claim)
    for sweep in () if missing else claim.sweeps:
        with opened_sweep(claim, sweep, device=device, results=results) as run:
            records += measure(run)
            run_dirs.append(run.run_dir)
    from vbench.report.claims.page import judge_claim

    return judge_claim(claim, run_dirs, missing=missing), records


def show(tested: "Sequence[Tested]", *, json: bool) -> None:
    """Print the verdicts."""
    from vbench.report.claims.page import as_data

    found = as_data(tested)
    if json:
        console.data({"claims": found})
        return
    parts = [(claim["claim"], part) for claim in found for part in claim["parts"]]
    rows = [(claim, *(part[column] for column in COLUMNS)) for claim, part in parts]
    console.table(f"{len(rows)} verdicts", ("claim", *COLUMNS), rows)


def command(names: Sequence[str] | None, device: str, results: Path, out: Path | None) -> str:
    """What was asked, as a line for a shell."""
    words = ["vbench", NAME, *(names or [])]
    words += ["--device", device] if device != "auto" else []
    words += ["--results", str(results)] if results != Path("results") else []
    words += ["--out", str(out)] if out else []
    return shlex.join(words)
