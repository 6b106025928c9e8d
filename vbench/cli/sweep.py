"""`vbench sweep`: a grid of points, one isolated process each."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vbench.cli import console, options
from vbench.core import summary
from vbench.core.errors import VbenchError
from vbench.core.types import Case, Record

if TYPE_CHECKING:
    from vbench.measure.sweep import Run


def sweep(
    spec: Annotated[
        str | None,
        typer.Argument(metavar="[SPEC]", help="TOML file, or a built-in: figure1, demo, smoke."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", metavar="NAME", help="Name or pattern; may be repeated."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Of the run, and of its folder.")
    ] = None,
    frames: options.Frames = None,
    resolution: options.Resolution = None,
    batch_size: options.BatchSize = None,
    precision: options.Precision = None,
    autocast: options.Autocast = None,
    mode: options.Mode = None,
    attention: options.Attention = None,
    compile_: options.Compile = None,
    cudagraph: options.CudaGraph = None,
    device: options.Device = None,
    gpu: options.Gpu = None,
    probe: options.Probes = None,
    repeats: options.Repeats = None,
    seconds: options.Seconds = None,
    timeout: options.Timeout = None,
    isolation: options.Isolation = None,
    seed: options.Seed = None,
    prune: Annotated[
        bool | None,
        typer.Option(
            "--prune/--no-prune", help="Skip what is larger than a point that ran out of memory."
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the points and measure nothing.")
    ] = False,
    results: options.Results = Path("results"),
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Run folder, instead of by name.")
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Measure every point of a grid; the same command resumes an interrupted one.

    Example: vbench sweep -m videomamba_tiny -m timesformer_tiny --frames 4,8 --device cpu
    """
    from vbench.measure import sweep as sweeps

    table = options.given(
        frames=frames,
        resolution=resolution,
        batch_size=batch_size,
        precision=precision,
        autocast=autocast,
        mode=mode,
        attention=attention,
        compile_=compile_,
        cudagraph=cudagraph,
        device=device,
        gpu=gpu,
        probes=probe,
        repeats=repeats,
        seconds=seconds,
        timeout=timeout,
        isolation=isolation,
        seed=seed,
    )
    table |= {"models": list(model)} if model else {}
    table |= {} if prune is None else {"prune": prune}
    asked = sweeps.asked_for(spec, table, name=name)
    if dry_run:
        print_plan(sweeps.planned(asked), json=json)
        return
    with sweeps.opened(asked, out or results / asked.name) as run:
        records = measure(run)
    if json:
        console.data({"run_dir": str(run.run_dir), "records": records})
    else:
        print_records(records)
    fail_unless_all_ok(records)


def measure(run: "Run") -> list[Record]:
    """Measure what is pending under a progress bar; say where it is kept, also when interrupted."""
    done = len(run.cases) - len(run.pending)
    console.note(f"{len(run.cases)} points, {done} of them done before; writing {run.run_dir}")
    if run.torn_lines:
        lines = ", ".join(map(str, run.torn_lines))
        console.note(f"kept but not read, half-written by a killed run: line {lines}")
    try:
        with console.progress(run.spec.name, total=len(run.pending)) as step:
            for record in run.measure():
                step(remark(record))
    except KeyboardInterrupt:
        console.note(
            f"interrupted; {len(run.records)} of {len(run.cases)} points are kept in "
            f"{run.run_dir}, the same command goes on"
        )
        raise
    return run.records


def remark(record: Record) -> str:
    """One line on a case that has just ended."""
    if record.status != "ok":
        return f"{record.case}: {record.status}: {record.error}"
    kind = "estimated" if record.case.device == "meta" else "measured"
    wanted = ("latency a batch", "throughput", "peak memory allocated")
    rows = summary.rows(record)
    found = [row.text for row in rows if row.kind == kind and row.quantity in wanted]
    if found:
        return f"{record.case}: {', '.join(found)} ({kind})"
    counted = [row.text for row in rows if row.quantity == "MACs a clip, exact"]
    return f"{record.case}: {', '.join(counted)} MACs a clip (counted)"


def print_plan(cases: list[Case], *, json: bool) -> None:
    """List cases without measuring them."""
    if json:
        console.data([{"case_id": case.case_id, "case": case} for case in cases])
        return
    rows = [(case.case_id, str(case), case.device) for case in cases]
    console.table(f"{len(rows)} points", ("case", "point", "device"), rows)


COLUMNS = {
    "latency measured": ("latency a batch", "measured"),
    "clips/s measured": ("throughput", "measured"),
    "memory measured": ("peak memory allocated", "measured"),
    "resident growth measured": ("resident memory grown in a step", "measured"),
    "latency estimated": ("latency a batch", "estimated"),
    "clips/s estimated": ("throughput", "estimated"),
    "memory estimated": ("peak memory allocated", "estimated"),
    "MACs a clip counted": ("MACs a clip, exact", "counted"),
}


def print_records(records: list[Record]) -> None:
    """A line a point, a column a quantity and kind; columns that no point fills are left out."""
    found = [
        {(row.quantity, str(row.kind)): row.text for row in summary.rows(record)}
        for record in records
    ]
    heads = [head for head, key in COLUMNS.items() if any(key in rows for rows in found)]
    lines = [
        [
            str(record.case),
            record.batch_size,
            record.status if record.status == "ok" else f"{record.status}: {record.error}",
            *(rows.get(COLUMNS[head], "") for head in heads),
        ]
        for record, rows in zip(records, found, strict=True)
    ]
    console.table(f"{len(lines)} points", ("point", "batch", "status", *heads), lines)


def fail_unless_all_ok(records: list[Record]) -> None:
    """Exit code 1 if some case failed.

    Raises:
        VbenchError: Says how many and the first.
    """
    failed = [record for record in records if record.status != "ok"]
    if failed:
        first = failed[0]
        raise VbenchError(
            f"{len(failed)} of {len(records)} points have no measurement; the first: "
            f"{first.case}: {first.status}: {first.error}"
        )
