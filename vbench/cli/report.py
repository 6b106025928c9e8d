"""`vbench report`: records and evaluations drawn as Markdown and one HTML page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vbench.cli import console, options

if TYPE_CHECKING:
    from model_zoo import PublishedNumber
    from vbench.core.evaluations import PublishedPoint


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of `vbench sweep` or `vbench eval`."),
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

    Of evaluations: accuracies with their intervals beside what a video costs; sweeps that are
    named with them follow.

    Example: vbench report results/figure1
    """
    from vbench.report import accuracy, document

    target = out or Path("reports") / runs[0].resolve().name
    with console.status("drawing"):
        if any(accuracy.is_evaluation(run) for run in runs):
            points = published_points()
            rendered = accuracy.render(runs, target, title=title, plots=plot, published=points)
        else:
            rendered = document.render(runs, target, title=title, plots=plot)
    if json:
        console.data({"paths": [str(p) for p in rendered.paths], "sentences": rendered.sentences})
        return
    for sentence in rendered.sentences:
        console.text(sentence)
    for path in rendered.paths:
        console.note(str(path))


def published_points() -> list["PublishedPoint"]:
    """Every printed top-1 whose source prints the input, the views and their operations too."""
    import model_zoo

    rows = model_zoo.published()
    costs = {_input(row): row for row in rows if row.metric == "macs"}
    costs |= {_input(row): row for row in rows if row.metric == "macs_per_video"}
    return [
        _point(row, costs[_input(row)])
        for row in rows
        if row.metric == "top1_percent" and _input(row) in costs and None not in _input(row)[3:]
    ]


def _input(row: "PublishedNumber") -> tuple[object, ...]:
    views = (row.num_frames, row.size_px, row.num_clips, row.num_crops)
    return (row.variant, row.model, row.dataset, *views)


def _point(row: "PublishedNumber", cost: "PublishedNumber") -> "PublishedPoint":
    import model_zoo
    from vbench.core.evaluations import PublishedPoint

    dataset, _, head = row.dataset.partition("/")
    if dataset == "lvu":  # its tasks are datasets of their own here
        dataset, head = f"lvu_{head}", ""
    variant = row.variant or ":"  # one with a colon is another library's, which may not be here
    views = 1 if cost.metric == "macs_per_video" else row.num_views or 1
    return PublishedPoint(
        model=row.model,
        family="" if ":" in variant else model_zoo.model_entry(variant).title,
        dataset=dataset,
        head=head,
        top1=round(row.value / 100, 6),
        macs_per_video=cost.value * views,
        num_frames=row.num_frames or 1,
        size_px=row.size_px or 1,
        num_clips=row.num_clips or 1,
        num_crops=row.num_crops or 1,
        frame_stride=row.frame_stride,
        source=f"{row.origin} {row.location}".strip(),
    )
