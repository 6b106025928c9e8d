"""COIN: ``COIN.json``, whose ``recipe_type`` is the task of a whole video, one of 180.

``subset`` is ``training`` or ``testing``. Many of the videos are gone from where they were.
Source: coin-dataset/annotations.
"""

from typing import Final

from vbench.accuracy.datasets import ONE_HEAD, Copy, Dataset, Video, files, register_dataset
from vbench.core.errors import UsageError

SPLITS: Final = {"test": ("testing", "validation"), "train": ("training",)}


@register_dataset(
    "coin",
    title="COIN",
    layout="COIN.json and YOUTUBE_ID.mp4 in any folders",
    splits=("test", "train"),
    licence="CC BY-NC 4.0",
    num_classes={ONE_HEAD: 180},
    num_videos={"test": 2_797, "train": 9_030},
)
def read(copy: Copy) -> Dataset:
    """Read COIN for the classification of tasks."""
    path = files.need(copy, "COIN.json")
    try:
        database = files.as_json(path)["database"]
        names = {int(entry["recipe_type"]): entry["class"] for entry in database.values()}
        listed = {
            identity: int(entry["recipe_type"])
            for identity, entry in database.items()
            if entry["subset"] in SPLITS[copy.split]
        }
    except (KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not laid out as COIN.json: {error}") from None
    media = files.Media(copy.root)
    classes = tuple(names.get(number, f"task {number}") for number in range(max(names) + 1))
    return Dataset(
        name="coin",
        split=copy.split,
        root=copy.root,
        heads={ONE_HEAD: classes},
        videos=tuple(
            Video(
                key=identity,
                path=media.find(identity) or f"{identity}.mp4",
                labels={ONE_HEAD: label},
            )
            for identity, label in listed.items()
        ),
    )
