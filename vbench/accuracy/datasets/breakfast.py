"""Breakfast: ten activities in long videos, ``PXX/camYY/PXX_activity.avi``.

With the lists of ViS4mer (``test.csv``: ``file_name,duration,action,class_id``, names like
``P47-cam01-P47_cereals``) the split is theirs: 1,277 and 356 videos. Without, ``s1`` to ``s4`` are
the official splits by participant, each naming its test part. Videos are keyed by their whole path:
``P03_cereals`` recurs for every camera.
Source: md-mohaiminul/ViS4mer data/Breakfast.
"""

from pathlib import Path
from typing import Final

from vbench.accuracy.datasets import ONE_HEAD, Copy, Dataset, Video, files, register_dataset
from vbench.core.errors import UsageError

TEST_PARTICIPANTS: Final = {
    "s1": range(3, 16), "s2": range(16, 29), "s3": range(29, 42), "s4": range(42, 55),
}  # fmt: skip


@register_dataset(
    "breakfast",
    title="Breakfast",
    layout="PXX/camYY/PXX_activity.avi, and test.csv of ViS4mer for the split 'test'",
    splits=("test", "train", "s1", "s2", "s3", "s4"),
    licence="CC BY 4.0",
    num_classes={ONE_HEAD: 10},
    num_videos={"test": 356, "train": 1_277},
)
def read(copy: Copy) -> Dataset:
    """Read Breakfast."""
    media = files.Media(copy.root)
    activities = {path: activity for path in media.paths if (activity := _activity(path))}
    if copy.split in TEST_PARTICIPANTS:
        wanted = TEST_PARTICIPANTS[copy.split]
        listed = {path: name for path, name in activities.items() if _participant(path) in wanted}
    else:
        path = files.need(copy, f"{copy.split}.csv")
        rows = files.table(path, "file_name", "action")
        by_name = {_dashed(place): place for place in media.paths}
        listed = {}
        for row in rows:
            name = row["file_name"]
            listed[by_name.get(name, f"{name.replace('-', '/')}.avi")] = row["action"]
    classes = sorted(set(listed.values()) | set(activities.values()))
    number = files.index_of(classes)
    return Dataset(
        name="breakfast",
        split=copy.split,
        root=copy.root,
        heads={ONE_HEAD: tuple(classes)},
        videos=tuple(
            Video(
                key=place,
                path=place,
                labels={ONE_HEAD: number[activity]},
                group=f"P{_participant(place):02d}",
            )
            for place, activity in listed.items()
        ),
    )


def _activity(path: str) -> str | None:
    """``P03/cam01/P03_cereals.avi`` -> ``cereals``; stereo files end in ``_ch0``."""
    words = Path(path).stem.split("_")
    return words[1] if len(words) > 1 and words[0][:1] == "P" and words[0][1:].isdigit() else None


def _participant(path: str) -> int:
    word = Path(path).stem.split("_")[0]
    if not word[1:].isdigit():
        raise UsageError(f"a Breakfast video is not named PXX_activity: {path}")
    return int(word[1:])


def _dashed(path: str) -> str:
    return "-".join(Path(path).with_suffix("").parts[-3:])
