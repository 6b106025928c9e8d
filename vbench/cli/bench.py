"""`vbench bench`: the zoo's kernels beside their references, floors and peers."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vbench.cli import console, options
from vbench.core import processes, stats, store
from vbench.core.bench import Contender, KernelRecord, ratio, read
from vbench.core.errors import UsageError
from vbench.core.units import number, with_unit

if TYPE_CHECKING:
    from vbench.measure.bench import Point

WHAT = "kernels"


def bench(
    what: Annotated[str, typer.Argument(metavar=WHAT, help="What to time: kernels.")],
    kernel: Annotated[
        list[str] | None,
        typer.Option("--kernel", metavar="NAME", help="Time only this; may be repeated."),
    ] = None,
    threads: Annotated[
        str, typer.Option("--threads", metavar="N[,N...]", help="CPU threads; all points on each.")
    ] = "1",
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer sizes, and 6 rounds instead of 30.")
    ] = False,
    device: Annotated[
        str, typer.Option("--device", metavar="D", help="auto, cpu, cuda or cuda:I.")
    ] = "auto",
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder of the records, written anew.")
    ] = Path("results/kernels"),
    report: Annotated[
        Path | None, typer.Option("--report", metavar="DIR", help="Also draw a report there.")
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Time each kernel beside its reference, its floor and its peers, in turns.

    On one thread the clock is its CPU time, on several the wall's; on a GPU it is CUDA's events.

    Example: vbench bench kernels --threads 1,2
    """
    if what != WHAT:
        raise UsageError(f"nothing to time by that name: {what}", hint=f"known: {WHAT}")
    os.environ |= processes.worker_environment()  # before torch is loaded
    from vbench.measure import bench as benches

    counts = options.integers("--threads", threads)
    target = benches.chosen_device(device)
    most = benches.most_threads() if target.startswith("cpu") else max(counts)
    refused = [count for count in counts if not 1 <= count <= most]
    if refused:
        raise UsageError(
            f"this process may use 1 to {benches.most_threads()} CPUs, not: {refused[0]}",
            hint="--threads takes no more than that",
        )
    points = benches.points(tuple(kernel or ()), threads=counts, quick=quick)
    records = measure(points, target, out, quick=quick)
    if report is not None:
        from vbench.report import kernels

        rendered = kernels.render(
            records, report, commands=[command(kernel, threads, out, report, quick)]
        )
        console.note(f"report: {rendered.paths[0]}")
    if json:
        console.data({"records": records})
        return
    print_records(records)


def measure(points: "list[Point]", device: str, out: Path, *, quick: bool) -> list[KernelRecord]:
    """Time all points under a progress bar; each is kept as soon as it is done."""
    from vbench.measure import bench as benches

    console.note(f"{len(points)} points, writing {out}")
    records: list[KernelRecord] = []
    read(out)  # whatever else lies there is not written over
    with (
        store.RunWriter(out, task=f"bench of {WHAT}") as writer,
        console.progress(WHAT, total=len(points)) as step,
    ):
        (out / store.RECORDS_FILE).write_bytes(b"")
        found = benches.run(points, device=device, quick=quick)
        for point, record in zip(points, found, strict=True):
            writer.append(record)
            records.append(record)
            step(str(point))
    return records


def command(kernel: list[str] | None, threads: str, out: Path, report: Path, quick: bool) -> str:
    """What was asked, as a line for a shell."""
    words = ["vbench", "bench", WHAT]
    words += [word for name in kernel or [] for word in ("--kernel", name)]
    words += ["--threads", threads, *(["--quick"] if quick else [])]
    words += ["--out", str(out), "--report", str(report)]
    return shlex.join(words)


COLUMNS = (
    *("kernel", "batch", "tokens", "threads", "form", "role", "median", "samples"),
    *("x faster than reference", "x floor"),
)


def print_records(records: list[KernelRecord]) -> None:
    """A line a form."""
    rows = [cells(record, one) for record in records for one in record.contenders]
    clocks = ", ".join(dict.fromkeys(record.clock for record in records))
    console.table(f"{len(records)} points, {clocks} time", COLUMNS, rows)


def cells(record: KernelRecord, one: Contender) -> tuple[object, ...]:
    """What the table says of a form."""
    middle = stats.median(one.seconds)
    floor = record.floor()
    faster = ratio(record.of_role("reference")[0], one)
    above = ratio(one, floor) if floor else None
    return (
        record.kernel,
        record.sizes["batch"],
        record.sizes["num_tokens"],
        record.num_threads,
        one.name,
        one.role,
        with_unit(middle, "s"),
        len(one.seconds),
        "" if faster is None else number(faster),
        "" if above is None else number(above),
    )
