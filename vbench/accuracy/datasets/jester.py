"""Jester: ``jester-v1-labels.csv``, ``jester-v1-validation.csv`` and a folder of JPEGs a video.

Labels stand one a line in their order; a list has lines ``id;label``. Frames are
``{id}/00001.jpg`` and on, and their number is that of the files.
Source: open-mmlab/mmaction2 tools/data/parse_file_list.py.
"""

from typing import Final

from vbench.accuracy.datasets import ONE_HEAD, Copy, Dataset, Video, files, register_dataset
from vbench.core.errors import UsageError

SPLITS: Final = {"val": "validation", "train": "train"}
FOLDERS: Final = (".", "20bn-jester-v1", "frames", "videos")
# Pairs that differ in direction alone, by the words that make the difference.
DIRECTIONS: Final = (("left", "right"), ("up", "down"), ("in", "out"), ("forward", "backward"),
                     ("clockwise", "counterclockwise"))  # fmt: skip


@register_dataset(
    "jester",
    title="Jester",
    layout="jester-v1-{labels,validation}.csv and 20bn-jester-v1/ID/00001.jpg",
    splits=("val", "train"),
    licence="research licence, no redistribution",
    num_classes={ONE_HEAD: 27},
    num_videos={"val": 14_787, "train": 118_562},
)
def read(copy: Copy) -> Dataset:
    """Read Jester."""
    classes = files.lines(files.beside(copy, "jester-v1-labels.csv", "labels.csv"))
    path = files.beside(copy, f"jester-v1-{SPLITS[copy.split]}.csv", f"{SPLITS[copy.split]}.csv")
    number = files.index_of(classes)
    folder = next(f for f in (*FOLDERS[1:], FOLDERS[0]) if (copy.root / f).is_dir())
    prefix = "" if folder == "." else f"{folder}/"
    directional = directional_classes(classes)
    videos = []
    for line in files.lines(path):
        identity, separator, label = line.partition(";")
        if not separator or label not in number:
            raise UsageError(f"{path} has a line that is not ID;LABEL with a known label: {line}")
        videos.append(
            Video(
                key=identity,
                path=f"{prefix}{identity}",
                labels={ONE_HEAD: number[label]},
                slices=("directional",) if label in directional else (),
            )
        )
    return Dataset(
        name="jester",
        split=copy.split,
        root=copy.root,
        heads={ONE_HEAD: tuple(classes)},
        videos=tuple(videos),
    )


def directional_classes(classes: list[str]) -> set[str]:
    """Classes whose opposite direction is a class too.

    >>> sorted(directional_classes(["Swiping Left", "Swiping Right", "Thumb Up", "No gesture"]))
    ['Swiping Left', 'Swiping Right']
    """
    lowered = {name.lower(): name for name in classes}
    found: set[str] = set()
    for name in lowered:
        for first, second in DIRECTIONS:
            words = [second if word == first else word for word in name.split()]
            opposite = " ".join(words)
            if opposite != name and opposite in lowered:
                found |= {lowered[name], lowered[opposite]}
    return found
