"""Datasets, read in their official annotation formats from the user's own copy; one file each.

A file here, or a third party's entry point in the group ``vbench.datasets``, registers readers with
`register_dataset`. Nothing of any dataset ships with vbench.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from vbench.accuracy.label_space import fingerprint
from vbench.accuracy.protocols import Protocol
from vbench.accuracy.windows import Window
from vbench.core.errors import UsageError
from vbench.core.registry import Registry

ONE_HEAD: Final = "class"


class Video(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One labelled video, or one labelled segment of a long video.

    Attributes:
        key: Names it in its dataset, the same wherever the files lie.
        path: Of the file or of the folder of frames, below the dataset's root.
        labels: Class of each head, in the dataset's order; empty for a regression task.
        group: What it shares with the videos it depends on: its film, its participant.
        slices: Named parts of the dataset that it belongs to.
        target: Value to be predicted, for a regression task.
        start_s: Of a segment.
        stop_s: Of a segment.
        start_frame: Of a segment in a folder of extracted frames, by the number in their names.
        stop_frame: The last one.
        duration_s: As the annotations have it.
        windows: Seconds from and to that are sampled one by one, once a protocol asks for it.
    """

    key: str
    path: str
    labels: dict[str, int] = {}
    group: str | None = None
    slices: tuple[str, ...] = ()
    target: float | None = None
    start_s: float | None = None
    stop_s: float | None = None
    start_frame: int | None = None
    stop_frame: int | None = None
    duration_s: float | None = None
    windows: tuple[Window, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Copy:
    """Where a user keeps a dataset.

    Attributes:
        root: Folder of the videos.
        annotations: File or folder of the annotations; None to look for them below `root`.
        split: Which part.
    """

    root: Path
    annotations: Path | None = None
    split: str = "val"


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """What was read: classes and videos, in the order of the annotations.

    Attributes:
        heads: Class names of each classifier, in the dataset's order; empty for regression.
        reversals: For a head, the class that each class becomes if time is reversed: itself if it
            does not mind, -1 if it becomes none of them.
    """

    name: str
    split: str
    root: Path
    heads: Mapping[str, tuple[str, ...]]
    videos: tuple[Video, ...]
    reversals: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if not self.videos:
            raise UsageError(f"the {self.split} split of {self.name} lists no video")
        seen: set[str] = set()
        for video in self.videos:
            if video.key in seen:
                raise UsageError(f"{self.name} lists a video twice: {video.key}")
            seen.add(video.key)

    @property
    def list_sha256(self) -> str:
        """Of keys and labels, whatever their order: two results with the same are comparable."""
        lines = sorted(
            f"{video.key}\t{sorted(video.labels.items())}\t{video.target}" for video in self.videos
        )
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    @property
    def class_fingerprints(self) -> dict[str, str]:
        """SHA-256 of each head's class names."""
        return {head: fingerprint(names) for head, names in self.heads.items()}

    @property
    def num_classes(self) -> int | dict[str, int]:
        """As `model_zoo.create_model` takes them; 1 for regression."""
        if not self.heads:
            return 1
        if set(self.heads) == {ONE_HEAD}:
            return len(self.heads[ONE_HEAD])
        return {head: len(names) for head, names in self.heads.items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """What is known of a dataset before it is read.

    Attributes:
        default_split: That accuracies are published on.
        splits: All of them.
        num_classes: Of each head; None where the user's files decide.
        num_videos: Of a split, as published; released copies may hold a few less.
        licence: Of the annotations, where stated.
        layout: What is expected below the root, a line each.
        made_here: How a dataset that vbench generates is found, tested and trained on; None for
            those that a user brings.
    """

    name: str
    title: str
    default_split: str
    splits: tuple[str, ...]
    layout: str
    read: Callable[[Copy], Dataset]
    licence: str = "not stated"
    num_classes: Mapping[str, int] | None = None
    num_videos: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    made_here: "MadeHere | None" = None

    def classes_of(self, split: str) -> Mapping[str, int] | None:
        """Classes of each head of a split; None where the user's files decide."""
        if self.made_here is None:
            return self.num_classes
        return {head: len(names) for head, names in self.made_here.heads(split).items()}


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeHere:
    """What a dataset that vbench generates adds to its entry.

    Attributes:
        default_root: Where a copy lies that the user gave no place to.
        build: Writes a split below a root, if it is not there; yields each file, after the number
            of files to come.
        protocol: The one by which every model is tested, by its frames and side.
        heads: Class names of a split.
        controls: Run beside the clips as they are, see `vbench.accuracy.controls`.
        on_request: Splits that are made only if they are named.
    """

    default_root: Callable[[], Path]
    build: Callable[[Path, str], tuple[int, Iterator[str]]]
    protocol: Callable[[int, int], Protocol]
    heads: Callable[[str], Mapping[str, tuple[str, ...]]]
    controls: tuple[str, ...] = ()
    on_request: tuple[str, ...] = ()


DATASETS: Final[Registry[Entry]] = Registry("dataset", package="vbench.accuracy.datasets")
Reader = Callable[[Copy], Dataset]


def register_dataset(
    name: str,
    *,
    title: str,
    layout: str,
    splits: tuple[str, ...],
    licence: str = "not stated",
    num_classes: Mapping[str, int] | None = None,
    num_videos: Mapping[str, int] | None = None,
    made_here: MadeHere | None = None,
) -> Callable[[Reader], Reader]:
    """Register the decorated reader; the first of `splits` is the default."""

    def register(read: Reader) -> Reader:
        DATASETS.add(
            name,
            Entry(
                name=name,
                title=title,
                default_split=splits[0],
                splits=splits,
                layout=layout,
                read=read,
                licence=licence,
                num_classes=num_classes,
                num_videos=num_videos or {},
                made_here=made_here,
            ),
        )
        return read

    return register


def load(
    name: str, *, root: Path, annotations: Path | None = None, split: str | None = None
) -> Dataset:
    """Read a dataset from the user's copy.

    Raises:
        UsageError: No such dataset, folder or split, or its files cannot be read.
    """
    entry = DATASETS[name]
    chosen = split or entry.default_split
    if chosen not in entry.splits:
        raise UsageError(f"{name} has no split: {chosen}", hint=f"known: {', '.join(entry.splits)}")
    if not root.is_dir():
        raise UsageError(f"no such folder: {root}", hint=f"expected there: {entry.layout}")
    return entry.read(Copy(root=root, annotations=annotations, split=chosen))
