"""Options that commands share: one word for one thing everywhere."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from vbench.core.errors import UsageError

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document to stdout.")]

Frames = Annotated[
    str | None,
    typer.Option("--frames", metavar="N[,N...]", help="Frames a clip. Default: the model's own."),
]
Resolution = Annotated[
    str | None,
    typer.Option(
        "--resolution",
        metavar="PX[,PX...]",
        help="Side, or HEIGHTxWIDTH, in pixels. Default: the model's own.",
    ),
]
BatchSize = Annotated[
    str | None,
    typer.Option(
        "--batch-size", metavar="N[,N...]|auto", help="Clips a batch; auto: the largest that fits."
    ),
]
Precision = Annotated[
    str | None,
    typer.Option("--precision", metavar="P[,P...]", help="Of fp32, tf32, bf16, fp16."),
]
Autocast = Annotated[
    bool | None,
    typer.Option(
        "--autocast/--no-autocast",
        help="Weights stay fp32 and torch.autocast chooses the precision by operator.",
    ),
]
Mode = Annotated[
    str | None, typer.Option("--mode", metavar="M[,M...]", help="Of inference, training.")
]
Attention = Annotated[
    str | None,
    typer.Option(
        "--attention",
        metavar="A[,A...]",
        help="Of eager, sdpa, flash, efficient, cudnn, math.",
    ),
]
Compile = Annotated[bool | None, typer.Option("--compile/--no-compile", help="torch.compile.")]
CudaGraph = Annotated[
    bool | None,
    typer.Option("--cudagraph/--no-cudagraph", help="Replay the forward pass as one CUDA graph."),
]
Device = Annotated[
    str | None,
    typer.Option(
        "--device", metavar="D", help="auto, cpu, cuda, cuda:I, or meta: estimate without running."
    ),
]
Gpu = Annotated[
    str | None,
    typer.Option("--gpu", metavar="NAME", help="GPU whose roofline `--device meta` uses."),
]
Probes = Annotated[
    list[str] | None,
    typer.Option("--probe", metavar="NAME", help="Measure only this; may be repeated."),
]
Timeout = Annotated[
    float | None, typer.Option("--timeout", metavar="S", help="Longest time a case may take.")
]
Seconds = Annotated[
    float | None,
    typer.Option("--seconds", metavar="S", help="Longest time spent in timed calls of a case."),
]
Isolation = Annotated[
    str | None,
    typer.Option(
        "--isolation",
        metavar="I",
        help="fork: a process a case from one that has torch; fresh: a new interpreter a case.",
    ),
]
Seed = Annotated[int | None, typer.Option("--seed", metavar="N", help="Of weights and clips.")]
Repeats = Annotated[
    int | None, typer.Option("--repeats", metavar="N", help="Processes a point is measured in.")
]
Results = Annotated[
    Path, typer.Option("--results", metavar="DIR", help="Folder that runs are written under.")
]


def given(
    *,
    frames: str | None = None,
    resolution: str | None = None,
    batch_size: str | None = None,
    precision: str | None = None,
    autocast: bool | None = None,
    mode: str | None = None,
    attention: str | None = None,
    compile_: bool | None = None,
    cudagraph: bool | None = None,
    device: str | None = None,
    gpu: str | None = None,
    probes: Sequence[str] | None = None,
    timeout: float | None = None,
    seconds: float | None = None,
    isolation: str | None = None,
    seed: int | None = None,
    repeats: int | None = None,
) -> dict[str, Any]:
    """The keys of a spec that were given as flags.

    Raises:
        UsageError: A list of numbers is not one.
    """
    table: dict[str, Any] = {
        "num_frames": _integers("--frames", frames),
        "resolutions_px": _sides(resolution),
        "batch_sizes": "auto" if batch_size == "auto" else _integers("--batch-size", batch_size),
        "precisions": _words(precision),
        "autocast": autocast,
        "modes": _words(mode),
        "attentions": _words(attention),
        "compile": None if compile_ is None else [compile_],
        "cudagraph": cudagraph,
        "device": device,
        "gpu": gpu,
        "probes": list(probes) if probes else None,
        "timeout_s": timeout,
        "isolation": isolation,
        "seed": seed,
        "repeats": repeats,
    }
    if seconds is not None:
        least = min(seconds, 1.0)
        table["timing"] = {"max_duration_s": seconds, "min_duration_s": least}
        table["timing"] |= {"max_warmup_s": seconds}
    return {key: value for key, value in table.items() if value is not None}


def _words(value: str | None) -> list[str] | None:
    return None if value is None else [word.strip() for word in value.split(",")]


def _integers(option: str, value: str | None) -> list[int] | None:
    return None if value is None else integers(option, value)


def _sides(value: str | None) -> list[int | list[int]] | None:
    words = _words(value)
    if words is None:
        return None
    sides: list[int | list[int]] = []
    for word in words:
        numbers = [_integer("--resolution", part) for part in word.split("x")]
        if len(numbers) > 2:
            raise UsageError(f"--resolution wants PX or HEIGHTxWIDTH, not: {word}")
        sides.append(numbers if len(numbers) == 2 else numbers[0])
    return sides


def integers(option: str, value: str) -> list[int]:
    """A list of whole numbers with commas between them.

    Raises:
        UsageError: It is not one.
    """
    return [_integer(option, word) for word in value.split(",")]


def _integer(option: str, word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise UsageError(f"{option} wants whole numbers, not: {word!r}") from None
