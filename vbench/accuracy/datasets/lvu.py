"""LVU: nine tasks on film clips, ``{task}/{train,val,test}.csv``, separated by spaces.

Seven classify: ``class_id class_name youtube_id imdb_id``, names with spaces, ids with gaps that
are kept. Two predict a value: ``like_count dislike_count youtube_id imdb_id`` and
``view_count youtube_id imdb_id``, centred as the authors do. VideoMamba's lists
``PATH,LABEL,DURATION``, without a header and with the value itself as the label, are read too.
How long a clip lasts, where windows are slid over it, is that third column, else what
``lvu_durations.csv`` of ViS4mer beside the tasks says, else what the file says.
Sources: chaoyuaw/lvu src/data/video_data_author.py, md-mohaiminul/ViS4mer data/lvu_1.0,
OpenGVLab/VideoMamba videomamba/video_sm/datasets/lvu.py.
"""

import math
from dataclasses import dataclass
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
DURATIONS_FILE: Final = "lvu_durations.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    """A line of a list.

    Attributes:
        answer: Number of the class, or the value.
        film: That the clip is from; None where the list does not say.
    """

    identity: str
    answer: float
    class_name: str | None = None
    film: str | None = None
    duration_s: float | None = None


def read(copy: Copy, task: str) -> Dataset:
    """Read one task."""
    path = files.need(copy, f"{task}/{copy.split}.csv", f"{copy.split}.csv")
    media = files.Media(copy.root)
    lines = files.lines(path)
    is_official = "youtube_id" in lines[0].split()
    rows = _official(path, lines[1:], task) if is_official else _listed(path, lines, task)
    is_regression = task in REGRESSION
    heads = {} if is_regression else {ONE_HEAD: _class_names(rows, CLASSIFICATION[task][0])}
    known = _durations(copy, path)
    videos = tuple(
        Video(
            key=row.identity,
            path=media.find(row.identity) or f"{row.identity}.mp4",
            labels={} if is_regression else {ONE_HEAD: int(row.answer)},
            group=row.film,
            target=row.answer if is_regression else None,
            duration_s=row.duration_s or known.get(row.identity),
        )
        for row in rows
    )
    return Dataset(name=f"lvu_{task}", split=copy.split, root=copy.root, heads=heads, videos=videos)


def _official(path: Path, lines: list[str], task: str) -> list[_Row]:
    found = []
    for words in map(str.split, lines):
        if len(words) < 3:
            raise UsageError(f"{path} has a line with less than three words")
        is_class = task in CLASSIFICATION
        found.append(
            _Row(
                identity=words[-2],
                answer=files.integer(words[0], path) if is_class else target(task, words),
                class_name=" ".join(words[1:-2]) if is_class else None,
                film=words[-1],
            )
        )
    return found


def _listed(path: Path, lines: list[str], task: str) -> list[_Row]:
    found = []
    for line in lines:
        name, *numbers = line.rsplit(",", 2)
        if len(numbers) != 2:
            raise UsageError(
                f"{path} is neither LVU's list nor one of PATH,LABEL,DURATION: {line[:60]}"
            )
        label, duration = numbers
        is_class = task in CLASSIFICATION
        found.append(
            _Row(
                identity=Path(name).stem,
                answer=files.integer(label, path) if is_class else _number(label, path),
                duration_s=_number(duration, path),
            )
        )
    return found


def _number(word: str, path: Path) -> float:
    try:
        return float(word)
    except ValueError:
        raise UsageError(f"{path} holds no number where one is wanted: {word!r}") from None


def _durations(copy: Copy, path: Path) -> dict[str, float]:
    """Seconds that ViS4mer's file gives to clips; nothing where it is not there."""
    for folder in (path.parent, path.parent.parent, copy.root):
        file = folder / DURATIONS_FILE
        if file.is_file():
            rows = files.table(file, "videoid", "duration")
            return {row["videoid"]: _number(row["duration"], file) for row in rows}
    return {}


def target(task: str, words: list[str]) -> float:
    """The value to be predicted, from a line's counts.

    >>> f"{target('like_ratio', ['9', '1', 'id', 'tt']):.4f}"
    '-0.1382'
    """
    if task == "like_ratio":
        likes, dislikes = float(words[0]), float(words[1])
        return 10 * likes / (likes + dislikes) - MEAN_LIKES
    return math.log(float(words[0])) - MEAN_LOG_VIEWS


def _class_names(rows: list[_Row], num_classes: int) -> tuple[str, ...]:
    names = {int(row.answer): row.class_name for row in rows}
    count = max([num_classes, *(number + 1 for number in names)])
    return tuple(names.get(number) or f"class {number}" for number in range(count))


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
