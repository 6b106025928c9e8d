"""Kinetics-400, -600 and -700: official CSV, class folders, or a list of paths and numbers.

Official annotations have the columns ``label,youtube_id,time_start,time_end,split``; classes are
numbered in the order of their names. A video is found by the eleven characters of its id at the
start of its name, ``{id}_{start:06d}_{end:06d}.mp4`` or ``{id}.mp4``.
Source: cvdfoundation/kinetics-dataset, open-mmlab/mmaction2 tools/data/parse_file_list.py.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

from vbench.accuracy.datasets import ONE_HEAD, Copy, Dataset, Video, files, register_dataset
from vbench.accuracy.decode import VIDEO_ENDINGS
from vbench.accuracy.label_space import plain
from vbench.core.errors import UsageError

ID_LENGTH: Final = 11

# Classes of Kinetics-400 that people name from shuffled frames no longer, and those they still do:
# Sevilla-Lara et al., Only Time Can Tell, WACV 2021, arXiv 1907.08340.
TEMPORAL: Final = frozenset(
    {
        "bouncing on trampoline", "breakdancing", "busking", "cartwheeling", "cleaning shoes",
        "country line dancing", "drop kicking", "gymnastics tumbling", "hammer throw", "high kick",
        "jumpstyle dancing", "kitesurfing", "parasailing", "playing cards", "playing cymbals",
        "playing drums", "playing ice hockey", "robot dancing", "shining shoes", "shuffling cards",
        "side kick", "ski jumping", "skiing (not slalom or crosscountry)", "skiing crosscountry",
        "skiing slalom", "snowboarding", "somersaulting", "tap dancing", "throwing ball",
        "throwing discus", "vault", "wrestling",
    }
)  # fmt: skip
STATIC: Final = frozenset(
    {
        "belly dancing", "bending back", "blasting sand", "blowing nose", "changing wheel",
        "clapping", "curling hair", "deadlifting", "dining", "doing aerobics",
        "dribbling basketball", "eating doughnuts", "filling eyebrows", "getting a tattoo",
        "laying bricks", "long jump", "lunge", "making bed", "moving furniture", "mowing lawn",
        "peeling apples", "playing badminton", "playing controller", "playing cricket", "pull ups",
        "riding camel", "shot put", "testifying", "trimming trees", "waxing eyebrows", "yawning",
        "yoga",
    }
)  # fmt: skip

OFFICIAL_NAMES: Final = {"val": ("val", "validate", "validation"), "train": ("train",),
                         "test": ("test",)}  # fmt: skip


def read(copy: Copy, name: str) -> Dataset:
    """Read one of the Kinetics datasets."""
    stems = OFFICIAL_NAMES[copy.split]
    number = name.removeprefix("kinetics")
    shapes = ("{stem}.csv", "{stem}.txt", "*{number}*{stem}*.csv", "*{number}*{stem}*.txt")
    patterns = [shape.format(stem=stem, number=number) for stem in stems for shape in shapes]
    path = files.find(copy, *patterns)
    if path is None:
        return _from_folders(copy, name)
    header = {word.strip().strip('"') for word in files.lines(path)[0].split(",")}
    if {"label", "youtube_id"} <= header:
        return _from_official(copy, name, path)
    return _from_list(copy, name, path)


def _from_official(copy: Copy, name: str, path: Path) -> Dataset:
    media = files.Media(copy.root)
    by_id: dict[str, str] = {}
    for place in media.paths:
        by_id.setdefault(place.rpartition("/")[2][:ID_LENGTH], place)
    rows = files.table(path, "label", "youtube_id")
    classes = _named(path) or sorted({row["label"] for row in rows})
    number = files.index_of(classes)
    videos = []
    for row in rows:
        identity = row["youtube_id"]
        span = [row.get(key) or "" for key in ("time_start", "time_end")]
        suffix = "".join(f"_{int(float(word)):06d}" for word in span if word)
        place = by_id.get(identity, f"{identity}{suffix}.mp4")
        videos.append(_video(name, identity, place, number[row["label"]], classes))
    return _dataset(copy, name, classes, videos)


def _from_list(copy: Copy, name: str, path: Path) -> Dataset:
    """Lists of UniFormer, CAST, VideoMAE, TimeSformer: a path and the number of its class."""
    media = files.Media(copy.root)
    listed = files.pairs(path)
    classes = _named(path)
    if classes is None:
        raise UsageError(
            f"{path} numbers its classes but does not name them",
            hint=f"write their names in that order, one a line, to {path.parent / 'classes.txt'}",
        )
    videos = []
    for place, label in listed:
        stem = Path(place).stem
        index = files.integer(label, path)
        if not 0 <= index < len(classes):
            raise UsageError(f"{path} has a class that classes.txt does not name: {index}")
        found = place if (copy.root / place).exists() else media.find(stem)
        videos.append(_video(name, stem, found or place, index, classes))
    return _dataset(copy, name, classes, videos)


def _named(path: Path) -> list[str] | None:
    """Class names that stand beside a list, where a list holds not all or numbers them."""
    names = files.find(Copy(root=path.parent), "classes.txt")
    return None if names is None else files.lines(names)


def _from_folders(copy: Copy, name: str) -> Dataset:
    """Class folders, as cvdfoundation/kinetics-dataset arranges them."""
    for stem in OFFICIAL_NAMES[copy.split]:
        if (copy.root / stem).is_dir():
            folders, listed = files.class_folders(copy.root / stem, VIDEO_ENDINGS)
            classes = [folder.replace("_", " ") for folder in folders]
            videos = [
                _video(name, Path(place).stem, f"{stem}/{place}", label, classes)
                for place, label in listed
            ]
            return _dataset(copy, name, classes, videos)
    files.need(copy, f"{copy.split}.csv")
    raise AssertionError("need() raises")


def _video(name: str, key: str, path: str, label: int, classes: Sequence[str]) -> Video:
    slices: tuple[str, ...] = ()
    if name == "kinetics400":
        found = plain(classes[label])
        slices += ("temporal32",) if found in TEMPORAL else ()
        slices += ("static32",) if found in STATIC else ()
    return Video(key=key, path=path, labels={ONE_HEAD: label}, slices=slices)


def _dataset(copy: Copy, name: str, classes: Sequence[str], videos: list[Video]) -> Dataset:
    return Dataset(
        name=name,
        split=copy.split,
        root=copy.root,
        heads={ONE_HEAD: tuple(classes)},
        videos=tuple(videos),
    )


# Validation videos listed; what can still be downloaded is a little less.
for _number, _videos in ((400, {"val": 19_906, "train": 246_534}), (600, None), (700, None)):
    register_dataset(
        f"kinetics{_number}",
        title=f"Kinetics-{_number}",
        layout="val.csv (label,youtube_id,time_start,time_end,split) and the videos, in any"
        " folders; or val/CLASS/VIDEO",
        splits=("val", "train", "test"),
        licence="annotations CC BY 4.0",
        num_classes={ONE_HEAD: _number},
        num_videos=_videos,
    )(partial(read, name=f"kinetics{_number}"))
