"""Jester: ``jester-v1-labels.csv``, ``jester-v1-validation.csv`` and a folder of JPEGs a video.

Labels stand one a line in their order; a list has lines ``id;label``. Frames are
``{id}/00001.jpg`` and on, and their number is that of the files.
Source: open-mmlab/mmaction2 tools/data/parse_file_list.py.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from vbench.accuracy.datasets import (
    ONE_HEAD,
    Copy,
    Dataset,
    Video,
    files,
    opposites,
    register_dataset,
)
from vbench.core.errors import UsageError

SPLITS: Final = {"val": "validation", "train": "train"}
FOLDERS: Final = (".", "20bn-jester-v1", "frames", "videos")
# Words by which a gesture differs from its opposite, which is also what it looks like backwards.
DIRECTIONS: Final[dict[str, opposites.Swap]] = {
    "left/right": (("left", "right"),),
    "up/down": (("up", "down"),),
    "in/out": (("in", "out"),),
    "forward/backward": (("forward", "backward"),),
    "clockwise/counterclockwise": (("clockwise", "counterclockwise"),),
    "pushing/pulling": (("pushing", "pulling"), ("away", "in")),
}
STILL: Final = "thumb"  # begins the names of gestures that do not move


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
    pairs = opposites.opposite_places(classes, DIRECTIONS)
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
                slices=slices_of(number[label], pairs),
            )
        )
    return Dataset(
        name="jester",
        split=copy.split,
        root=copy.root,
        heads={ONE_HEAD: tuple(classes)},
        videos=tuple(videos),
        reversals={ONE_HEAD: backwards(classes, pairs)},
    )


def backwards(classes: Sequence[str], pairs: Mapping[str, Mapping[int, int]]) -> tuple[int, ...]:
    """What each gesture becomes if time is reversed; a thumb that is shown stays what it is."""
    found = opposites.reversals(pairs, len(classes))
    return tuple(
        place if name.lower().startswith(STILL) else other
        for place, (name, other) in enumerate(zip(classes, found, strict=True))
    )


def slices_of(label: int, pairs: Mapping[str, Mapping[int, int]]) -> tuple[str, ...]:
    """The directions that a class has an opposite in, and one name for all of them.

    >>> slices_of(0, {"left/right": {0: 1, 1: 0}, "up/down": {}})
    ('directional', 'left/right')
    """
    found = tuple(title for title, places in pairs.items() if label in places)
    return ("directional", *found) if found else ()
