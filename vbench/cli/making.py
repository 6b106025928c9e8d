"""Writing the datasets that vbench generates, under a progress bar."""

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
    if not num_files:
        for _ in written:
            pass
        return
    console.note(f"making {dataset} {chosen}: {num_files} videos in {root}")
    with console.progress(dataset, total=num_files) as step:
        for file in written:
            step(file)
