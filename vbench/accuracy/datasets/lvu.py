"""LVU: nine tasks on film clips, ``{task}/{train,val,test}.csv``, separated by spaces.

Seven classify: ``class_id class_name youtube_id imdb_id``, names with spaces, ids with gaps that
are kept. Two predict a value: ``like_count dislike_count youtube_id imdb_id`` and
``view_count youtube_id imdb_id``, centred as the authors do. A model sees the whole clip; the
windows that some papers slide over it are no part of a reader.
Source: chaoyuaw/lvu src/data/video_data_author.py.
"""

import math
from functools import partial
from pathlib import Path
from typing import Final

from vbench.accuracy.datasets import ONE_HEAD, Copy, Dataset, Video, files, register_dataset
from vbench.core.errors import UsageError

# Task -> classes declared, and videos of the test split.
CLASSIFICATION: Final = {
    "relationship": (4, 42), "way_speaking": (5, 201), "scene": (6, 86), "director": (10, 107),
    "genre": (4, 647), "writer": (10, 168), "year": (9, 143),
}  # fmt: skip
REGRESSION: Final = {"like_ratio": 140, "view_count": 126}
MEAN_LIKES: Final = 9.138220535629456
MEAN_LOG_VIEWS: Final = 11.76425435683139


def read(copy: Copy, task: str) -> Dataset:
    """Read one task."""
    path = files.need(copy, f"{task}/{copy.split}.csv", f"{copy.split}.csv")
    media = files.Media(copy.root)
    rows = [line.split() for line in files.lines(path)[1:]]
    if any(len(words) < 3 for words in rows):
        raise UsageError(f"{path} has a line with less than three words")
    is_regression = task in REGRESSION
    heads = {} if is_regression else {ONE_HEAD: _class_names(path, rows, CLASSIFICATION[task][0])}
    videos = []
    for words in rows:
        identity = words[-2]
        videos.append(
            Video(
                key=identity,
                path=media.find(identity) or f"{identity}.mp4",
                labels={} if is_regression else {ONE_HEAD: files.integer(words[0], path)},
                group=words[-1],
                target=target(task, words) if is_regression else None,
            )
        )
    return Dataset(
        name=f"lvu_{task}", split=copy.split, root=copy.root, heads=heads, videos=tuple(videos)
    )


def target(task: str, words: list[str]) -> float:
    """The value to be predicted, from a line's counts.

    >>> f"{target('like_ratio', ['9', '1', 'id', 'tt']):.4f}"
    '-0.1382'
    """
    if task == "like_ratio":
        likes, dislikes = float(words[0]), float(words[1])
        return 10 * likes / (likes + dislikes) - MEAN_LIKES
    return math.log(float(words[0])) - MEAN_LOG_VIEWS


def _class_names(path: Path, rows: list[list[str]], num_classes: int) -> tuple[str, ...]:
    names = {files.integer(words[0], path): " ".join(words[1:-2]) for words in rows}
    count = max(num_classes, *(number + 1 for number in names))
    return tuple(names.get(number, f"class {number}") for number in range(count))


for _task, (_classes, _videos) in CLASSIFICATION.items():
    register_dataset(
        f"lvu_{_task}",
        title=f"LVU {_task}",
        layout=f"{_task}/test.csv and YOUTUBE_ID.mp4 in any folders",
        splits=("test", "val", "train"),
        num_classes={ONE_HEAD: _classes},
        num_videos={"test": _videos},
    )(partial(read, task=_task))

for _task, _videos in REGRESSION.items():
    register_dataset(
        f"lvu_{_task}",
        title=f"LVU {_task}",
        layout=f"{_task}/test.csv and YOUTUBE_ID.mp4 in any folders",
        splits=("test", "val", "train"),
        num_videos={"test": _videos},
    )(partial(read, task=_task))
