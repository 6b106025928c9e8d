"""`vbench show`: what is known of one model, without building it."""

from typing import Annotated

import typer

import model_zoo
from vbench.cli import console
from vbench.cli.options import AsJson
from vbench.measure.sweep import entry_of


def show(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A name from `vbench models`.")],
    json: AsJson = False,
) -> None:
    """Show one model: where it comes from, what it takes, its released checkpoints.

    Example: vbench show videomamba_tiny
    """
    entry = entry_of(model)
    if json:
        console.data({"model": entry})
        return
    console.table(entry.name, ("fact", "value"), facts(entry))


def facts(entry: model_zoo.ModelEntry) -> list[tuple[str, str]]:
    """What a reader wants first."""
    frames, height, width = entry.clip
    classes = entry.num_classes
    heads = (
        classes if isinstance(classes, int) else ", ".join(f"{k} {v}" for k, v in classes.items())
    )
    return [
        ("architecture", entry.title),
        ("summary", entry.summary),
        ("clip", f"{frames} frames of {height}x{width}"),
        ("classes", f"{heads} ({entry.label_space})"),
        (
            "attention",
            "eager, sdpa, flash, efficient, cudnn, math" if entry.has_attention else "none",
        ),
        ("paper", entry.paper),
        ("official code", entry.repository),
        ("licence of the code", entry.licence),
        ("family", ", ".join(model_zoo.list_models(family=entry.family))),
    ]
