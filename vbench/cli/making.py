"""Writing the datasets that vbench generates, under a progress bar."""

import contextlib
from collections.abc import Iterable
from pathlib import Path

from vbench.cli import console


def ensure(dataset: str, root: Path, split: str | None) -> None:
    """Write a split below `root` if it is not there; nothing for datasets that users bring."""
    from vbench.accuracy.datasets import DATASETS

    entry = DATASETS[dataset]
    if entry.made_here is None:
        return
    chosen = split or entry.default_split
    num_files, written = entry.made_here.build(root, chosen)
    if num_files:
        console.note(f"making {dataset} {chosen}: {num_files} videos in {root}")
    write(dataset, num_files, written)


def write(dataset: str, num_files: int, written: Iterable[str]) -> None:
    """Write the files of a generated dataset, a step of the bar each; no bar where none lacks."""
    bar = console.progress(dataset, total=num_files)
    with bar if num_files else contextlib.nullcontext(lambda _file: None) as step:
        for file in written:
            step(file)
