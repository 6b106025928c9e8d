"""`vbench demo`: the figure that made VideoMamba famous, from numbers one can trust."""

import contextlib
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
    from vbench.measure.executors import EXECUTORS

    run_dirs = []
    with contextlib.closing(EXECUTORS["fork"]()) as executor:
        for name in ("figure1", sweeps.demo_spec(executor)):
            spec = sweeps.asked_for(name, {}, name=None)
            with sweeps.opened(spec, results / "demo" / name, executor=executor) as run:
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
