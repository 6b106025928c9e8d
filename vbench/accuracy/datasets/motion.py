"""Motion: the benchmark that vbench generates, read from MP4 files and annotations like any other.

See `vbench.accuracy.motion`. The slice ``held-out pairs`` holds the clips whose verb and noun were
never seen together in training; of the extended list, each pair of verbs is a slice too.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from vbench.accuracy.controls import CONTROLS
from vbench.accuracy.datasets import Copy, Dataset, MadeHere, Video, files, register_dataset
from vbench.accuracy.datasets.epic_kitchens import seconds
from vbench.accuracy.motion import build
from vbench.accuracy.motion.labels import EXTENDED, HEADS, Vocabulary, is_held_out, reversed_verb
from vbench.accuracy.motion.lists import SPLITS
from vbench.accuracy.protocols import Protocol
from vbench.accuracy.transforms import Spatial

HELD_OUT: Final = "held-out pairs"


def protocol(num_frames: int, size_px: int) -> Protocol:
    """One view of evenly spaced frames over the whole clip, whatever the model."""
    return Protocol(
        name="motion",
        rule="segments_shifted",
        num_frames=num_frames,
        frame_stride=1,
        num_clips=1,
        spatial=Spatial(short_side_px=size_px, crop_px=size_px, backend="pil_bicubic"),
        aggregate="probability_mean",
        source="vbench.accuracy.motion",
    )


def made(root: Path, split: str) -> tuple[int, Iterator[str]]:
    """Write a split below `root`, of the size and seed that the folder has or is to have."""
    header = build.read_header(root) or build.Header()
    return build.num_files(root, [split], header), build.build(root, [split], header)


@register_dataset(
    "motion",
    title="Motion",
    layout="annotations/SPLIT.csv and videos/SPLIT/, as `vbench data make motion` writes them",
    splits=tuple(SPLITS),
    licence="generated",
    num_classes={head: len(names) for head, names in HEADS.items()},
    made_here=MadeHere(
        default_root=lambda: build.default_root(build.Header()),
        build=made,
        protocol=protocol,
        controls=CONTROLS,
        heads=lambda split: SPLITS[split].vocabulary.heads,
        on_request=tuple(name for name, split in SPLITS.items() if split.on_request),
    ),
)
def read(copy: Copy) -> Dataset:
    """Read a copy of the motion benchmark."""
    path = files.need(copy, f"{copy.split}.csv")
    split = SPLITS[copy.split]
    heads, per_file = split.vocabulary.heads, split.clips_per_file
    videos = []
    for place, row in enumerate(files.table(path, *split.columns)):
        labels = {head: files.integer(row[f"{head}_class"], path) for head in heads}
        folder = Path("videos") / copy.split
        whole = per_file == 1
        stem = row["clip_id"] if whole else f"{copy.split}_video_{place // per_file:04d}"
        videos.append(
            Video(
                key=row["clip_id"],
                path=(folder / f"{stem}.mp4").as_posix(),
                labels=labels,
                slices=_slices(labels["verb"], labels["noun"], split.vocabulary),
                start_s=None if whole else seconds(row["start_timestamp"]),
                stop_s=None if whole else seconds(row["stop_timestamp"]),
            )
        )
    return Dataset(
        name="motion",
        split=copy.split,
        root=copy.root,
        heads=heads,
        videos=tuple(videos),
        reversals={"verb": split.vocabulary.reversals},
    )


def _slices(verb: int, noun: int, vocabulary: Vocabulary) -> tuple[str, ...]:
    found = (HELD_OUT,) if is_held_out(verb, noun) else ()
    if vocabulary is not EXTENDED:
        return found
    pair = sorted((verb, reversed_verb(verb)))
    return (*found, " / ".join(vocabulary.verbs[one] for one in pair))
