"""`vbench report`: records drawn as Markdown and one HTML page."""

from pathlib import Path
from typing import Annotated

import typer

from vbench.cli import console, options


def report(
    runs: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Run folders, such as results/figure1.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Default: reports/<first run>.")
    ] = None,
    title: Annotated[str | None, typer.Option("--title", metavar="TEXT")] = None,
    plot: Annotated[
        list[str] | None,
        typer.Option("--plot", metavar="NAME", help="Draw only this; may be repeated."),
    ] = None,
    json: options.AsJson = False,
) -> None:
    """Render runs as README.md, index.html, figures and tables.

    Example: vbench report results/figure1
    """
    from vbench.report import document

    target = out or Path("reports") / runs[0].resolve().name
    with console.status("drawing"):
        rendered = document.render(runs, target, title=title, plots=plot)
    if json:
        console.data({"paths": [str(p) for p in rendered.paths], "sentences": rendered.sentences})
        return
    for sentence in rendered.sentences:
        console.text(sentence)
    for path in rendered.paths:
        console.note(str(path))
