"""`vbench data`: datasets that can be evaluated on, and whether a copy is whole."""

from pathlib import Path
from typing import Annotated

import typer

from vbench.cli import console, making
from vbench.cli.options import AsJson
from vbench.core.errors import UsageError, VbenchError

data = typer.Typer(
    name="data",
    help="List datasets; check your own copy of one.\n\n"
    "Example: vbench data check ssv2 --root /data/ssv2",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@data.command("list")
def list_(json: AsJson = False) -> None:
    """List the datasets that can be read, and the layout that each expects.

    Example: vbench data list
    """
    from vbench.accuracy.datasets import DATASETS

    entries = [DATASETS[name] for name in DATASETS]
    if json:
        console.data(
            [
                {
                    "name": entry.name,
                    "title": entry.title,
                    "splits": entry.splits,
                    "num_classes": dict(entry.num_classes or {}),
                    "num_videos": dict(entry.num_videos),
                    "licence": entry.licence,
                    "layout": entry.layout,
                }
                for entry in entries
            ]
        )
        return
    rows = [(e.name, e.title, ", ".join(e.splits), e.licence, e.layout) for e in entries]
    console.table(
        f"{len(rows)} datasets",
        ("dataset", "title", "splits", "licence", "expected below root"),
        rows,
    )


@data.command("make")
def make(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="Only motion is made here.")],
    root: Annotated[
        Path | None, typer.Option("--root", metavar="DIR", help="Default: the user's cache.")
    ] = None,
    size: Annotated[
        str, typer.Option("--size", metavar="SIZE", help="tiny, small or base.")
    ] = "small",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Of the clips.")] = 0,
    split: Annotated[
        list[str] | None,
        typer.Option(
            "--split", metavar="NAME", help="Repeat for several; default: easy to train_medium."
        ),
    ] = None,
) -> None:
    """Write a generated dataset: MP4 files and annotations, always the same ones.

    Example: vbench data make motion --root motion --size tiny
    """
    from vbench.accuracy.datasets import DATASETS
    from vbench.accuracy.motion import build

    entry = DATASETS[dataset]
    if entry.made_here is None:
        raise UsageError(
            f"{dataset} is not made here, it is read from your own copy",
            hint=f"expected below its folder: {entry.layout}",
        )
    header = build.Header(size=size, seed=seed)
    folder = root or build.default_root(header)
    names = split or [name for name in entry.splits if name not in entry.made_here.on_request]
    making.write(
        dataset, build.num_files(folder, names, header), build.build(folder, names, header)
    )
    console.text(str(folder))


@data.command("check")
def check(
    dataset: Annotated[str, typer.Argument(metavar="DATASET", help="See `vbench data list`.")],
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="Folder of the videos.")],
    annotations: Annotated[
        Path | None,
        typer.Option("--annotations", metavar="PATH", help="File or folder, if not below --root."),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", metavar="NAME", help="Default: the dataset's own.")
    ] = None,
    decode: Annotated[
        str,
        typer.Option("--decode", metavar="N|P%", help="Decode so many videos; 100% for all."),
    ] = "200",
    json: AsJson = False,
) -> None:
    """Check a copy of a dataset: counts, missing and unreadable files, classes.

    Example: vbench data check ssv2 --root /data/ssv2
    """
    from vbench.accuracy.checkup import check as check_copy
    from vbench.accuracy.subsets import SubsetSpec

    spec = None if decode == "0" else SubsetSpec(count=decode)
    with console.status(f"checking {dataset}"):
        found = check_copy(dataset, root=root, annotations=annotations, split=split, decode=spec)
    if json:
        console.data({"is_whole": found.is_whole, "checkup": found})
    else:
        marks = {True: "ok", False: "differs", None: ""}
        rows = [(f.topic, f.found, f.expected, marks[f.is_ok]) for f in found.findings]
        tried = f"{found.num_decoded} decoded"
        rows.append(("videos unreadable", str(len(found.unreadable)), f"0 of {tried}",
                     marks[not found.unreadable]))  # fmt: skip
        rows.append(("list SHA-256", found.list_sha256, "", ""))
        rows += [(f"classes of {h} SHA-256", digest, "", "")
                 for h, digest in found.class_sha256.items()]  # fmt: skip
        console.table(f"{found.dataset} {found.split}", ("what", "found", "expected", ""), rows)
        for path in found.missing:
            console.note(f"missing: {path}")
        for path, reason in found.unreadable.items():
            console.note(f"unreadable: {path}: {reason}")
    if found.missing or found.unreadable:
        raise VbenchError(
            f"{found.num_missing} videos are missing, {len(found.unreadable)} of "
            f"{found.num_decoded} cannot be read"
        )
