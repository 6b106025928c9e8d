"""`vbench demo`: the figure that made VideoMamba famous, from numbers one can trust."""

from pathlib import Path
from typing import Annotated

import typer

from vbench.cli import console, options
from vbench.cli.sweep import measure


def demo(
    results: options.Results = Path("results"),
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the report.")] = Path(
        "reports/demo"
    ),
    json: options.AsJson = False,
) -> None:
    """Estimate Figure 1 of VideoMamba, measure what this machine can, and draw both.

    Example: vbench demo
    """
    from vbench.measure import sweep as sweeps

    measured = sweeps.asked_for(sweeps.demo_spec(), {}, name=None)
    run_dirs = []
    for spec in (sweeps.asked_for("figure1", {}, name=None), measured):
        with sweeps.opened(spec, results / "demo" / spec.name) as run:
            measure(run)
            run_dirs.append(run.run_dir)
    from vbench.report import document

    with console.status("drawing"):
        rendered = document.render(run_dirs, out, title="VideoMamba's Figure 1, checked")
    if json:
        console.data({"paths": [str(p) for p in rendered.paths], "sentences": rendered.sentences})
        return
    for sentence in rendered.sentences:
        console.text(sentence)
    console.note(f"report: {out / 'index.html'} and {out / 'README.md'}")
