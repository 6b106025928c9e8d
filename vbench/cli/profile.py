"""`vbench profile`: everything about one point, as a card."""

from pathlib import Path
from typing import Annotated

import typer

from vbench.cli import card, console, options
from vbench.core.errors import UsageError, VbenchError
from vbench.core.types import Record


def profile(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name from `vbench models`.")],
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
    seconds: options.Seconds = None,
    timeout: options.Timeout = None,
    isolation: options.Isolation = None,
    seed: options.Seed = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Also append the record to this run folder."),
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Measure one model at one point: time, memory, energy, operations.

    Example: vbench profile videomamba_tiny --frames 16 --device cpu
    """
    from vbench.measure.profile import profile_one

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
        seconds=seconds,
        timeout=timeout,
        isolation=isolation,
        seed=seed,
    )
    with console.status(f"measuring {model}"):
        record = profile_one(model, table, out=out)
    if json and record.status == "ok":
        console.data(card.as_data(record))
    elif record.measurements:
        card.show(record)
    fail_unless_ok(record)


def fail_unless_ok(record: Record) -> None:
    """Turn a record that is not ``ok`` into an exit code.

    Raises:
        UsageError: The model cannot take what was asked.
        VbenchError: With what the record says.
    """
    if record.status == "unsupported":
        raise UsageError(f"{record.case.model}: {record.error}")
    if record.status != "ok":
        raise VbenchError(f"{record.case}: {record.status}: {record.error}")
