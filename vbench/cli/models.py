"""`vbench models`: what can be measured."""

from typing import Annotated

import typer

import model_zoo
from vbench.cli import console
from vbench.cli.options import AsJson
from vbench.core.errors import UsageError


def models(
    pattern: Annotated[
        str | None, typer.Argument(metavar="[PATTERN]", help="Shell pattern, such as 'video*'.")
    ] = None,
    family: Annotated[
        str | None, typer.Option("--family", metavar="NAME", help="One architecture's variants.")
    ] = None,
    json: AsJson = False,
) -> None:
    """List the models of the zoo.

    Example: vbench models 'timesformer*'
    """
    names = model_zoo.list_models(pattern, family=family)
    if not names:
        wanted = " and ".join(filter(None, (pattern, family and f"family {family}")))
        raise UsageError(f"no model matches: {wanted}", hint="`vbench models` lists all")
    entries = [model_zoo.model_entry(name) for name in names]
    if json:
        console.data(entries)
        return
    rows = [
        (e.name, e.title, f"{e.clip[0]}x{e.clip[1]}", e.label_space, e.paper, e.summary)
        for e in entries
    ]
    columns = ("model", "architecture", "clip", "classes of", "paper", "summary")
    console.table(f"{len(rows)} models", columns, rows)
