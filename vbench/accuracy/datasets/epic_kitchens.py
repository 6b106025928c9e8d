"""EPIC-KITCHENS-100: ``EPIC_100_validation.csv`` with verbs, nouns and times.

A segment is read from, in this order: its own clip ``{narration_id}.mp4``; its video
``{video_id}.MP4``, cut by its timestamps; the official extracted frames, cut by their numbers.
Frame numbers are never used with videos: they count 60 (or 50) frames a second whatever the video's
rate is. An action is its verb and noun. Classes are read from the user's clone, whose licence
forbids shipping them.
Source: epic-kitchens/epic-kitchens-100-annotations, epic-kitchens/C1-Action-Recognition.
"""

from pathlib import Path
from typing import Final

from vbench.accuracy.datasets import Copy, Dataset, Video, files, register_dataset
from vbench.core.errors import UsageError

SPLITS: Final = {"val": "EPIC_100_validation.csv", "train": "EPIC_100_train.csv"}
UNSEEN: Final = "EPIC_100_unseen_participant_ids_validation.csv"
TAILS: Final = {"verb": "EPIC_100_tail_verbs.csv", "noun": "EPIC_100_tail_nouns.csv"}
COLUMNS: Final = (
    "narration_id",
    "participant_id",
    "video_id",
    "start_timestamp",
    "stop_timestamp",
    "start_frame",
    "stop_frame",
    "verb_class",
    "noun_class",
)


@register_dataset(
    "epic_kitchens100",
    title="EPIC-KITCHENS-100",
    layout="a clone of epic-kitchens-100-annotations; NARRATION_ID.mp4, or VIDEO_ID.MP4, or the"
    " folders VIDEO_ID of extracted frames, in any folders",
    splits=("val", "train"),
    licence="CC BY-NC 4.0",
    num_classes={"verb": 97, "noun": 300},
    num_videos={"val": 9_668, "train": 67_217},
)
def read(copy: Copy) -> Dataset:
    """Read EPIC-KITCHENS-100."""
    name = SPLITS[copy.split]
    path = files.beside(copy, name, f"epic-kitchens-100-annotations/{name}")
    heads = {head: _classes(path.parent, head) for head in ("verb", "noun")}
    unseen = _listed(path.parent / UNSEEN, "participant_id")
    tails = {head: {int(n) for n in _listed(path.parent / file, head)}
             for head, file in TAILS.items()}  # fmt: skip
    media = files.Media(copy.root)
    videos = []
    for row in files.table(path, *COLUMNS):
        labels = {head: files.integer(row[f"{head}_class"], path) for head in heads}
        slices: tuple[str, ...] = ("unseen",) if row["participant_id"] in unseen else ()
        slices += ("tail",) if any(labels[head] in tails[head] for head in heads) else ()
        videos.append(_segment(row, media, path, labels, slices))
    return Dataset(
        name="epic_kitchens100",
        split=copy.split,
        root=copy.root,
        heads=heads,
        videos=tuple(videos),
    )


def _segment(
    row: dict[str, str],
    media: files.Media,
    path: Path,
    labels: dict[str, int],
    slices: tuple[str, ...],
) -> Video:
    key, video = row["narration_id"], row["video_id"]
    clip, whole = media.find(key), media.find(video)
    if clip is not None:
        return Video(key=key, path=clip, labels=labels, group=video, slices=slices)
    is_frames = whole is not None and not Path(whole).suffix
    return Video(
        key=key,
        path=whole or f"{video}.MP4",
        labels=labels,
        group=video,
        slices=slices,
        start_s=None if is_frames else seconds(row["start_timestamp"]),
        stop_s=None if is_frames else seconds(row["stop_timestamp"]),
        start_frame=files.integer(row["start_frame"], path) if is_frames else None,
        stop_frame=files.integer(row["stop_frame"], path) if is_frames else None,
    )


def seconds(timestamp: str) -> float:
    """Seconds of ``HH:MM:SS.ss``.

    >>> seconds("00:01:08.80")
    68.8

    Raises:
        UsageError: It is none.
    """
    try:
        hours, minutes, rest = timestamp.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(rest)
    except ValueError:
        raise UsageError(f"not a timestamp HH:MM:SS.ss: {timestamp!r}") from None


def _classes(folder: Path, head: str) -> tuple[str, ...]:
    path = folder / f"EPIC_100_{head}_classes.csv"
    rows = files.table(path, "id", "key")
    names = {files.integer(row["id"], path): row["key"] for row in rows}
    return tuple(names.get(number, f"{head} {number}") for number in range(max(names) + 1))


def _listed(path: Path, column: str) -> set[str]:
    """Values of one column; empty where the file is not there."""
    if not path.is_file():
        return set()
    rows = files.table(path)
    name = column if rows and column in rows[0] else next(iter(rows[0]), column) if rows else column
    return {row[name] for row in rows}
