"""Fewer videos, fairly: seeded, stratified, nested, and the same whatever order the list is in.

Videos of a class are ordered by a hash of the seed and their key. A subset takes the first of each
class, so that a larger one holds every smaller one, and a video that is missing changes no other.
The first N of a list would not do: lists are often grouped by class.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from vbench.accuracy.datasets import Video
from vbench.core.errors import UsageError


class SubsetSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which videos; at most one of the three is given, none takes all.

    Attributes:
        count: ``1000``, or ``10%`` of the list.
        per_class: As many of each class.
        keys: Exactly these, from a file.
    """

    count: str | None = None
    per_class: Annotated[int, Meta(ge=1)] | None = None
    keys: tuple[str, ...] | None = None
    seed: int = 0

    @property
    def is_drawn(self) -> bool:
        """Whether it takes videos of each class at random."""
        return self.count is not None or self.per_class is not None


def choose(videos: Sequence[Video], spec: SubsetSpec) -> list[Video]:
    """The videos of the subset, in the order of their hashes.

    Raises:
        UsageError: More than one way is given, or what is asked for is not there.
    """
    if sum(value is not None for value in (spec.count, spec.per_class, spec.keys)) > 1:
        raise UsageError("give one of --subset, --per-class and --subset-file, not several")
    if spec.keys is not None:
        return _listed(videos, spec.keys)
    ranked = _by_class(videos, spec.seed)
    if spec.per_class is not None:
        return _in_order([v for members in ranked for v in members[: spec.per_class]], spec.seed)
    if spec.count is None:
        return _in_order(videos, spec.seed)
    return _in_order(_nested(ranked)[: _number(spec.count, len(videos))], spec.seed)


def _nested(ranked: list[list[Video]]) -> list[Video]:
    """All videos in one order of which every beginning is spread over the classes.

    The k-th of the n videos of a class stands at (k + 1/2) / n, so that a beginning of N videos
    takes from each class its share of N, to within one video, and holds every smaller beginning.
    """
    placed = [
        ((k + 0.5) / len(members), position, video)
        for position, members in enumerate(ranked)
        for k, video in enumerate(members)
    ]
    return [video for _, _, video in sorted(placed, key=lambda entry: entry[:2])]


def _by_class(videos: Sequence[Video], seed: int) -> list[list[Video]]:
    """Videos of each class by hash; the classes by hash too, so that none comes first by name."""
    classes: dict[str, list[Video]] = {}
    for video in videos:
        classes.setdefault(str(sorted(video.labels.items())), []).append(video)
    names = sorted(classes, key=lambda name: _rank(name, seed))
    return [_in_order(classes[name], seed) for name in names]


def _in_order(videos: Iterable[Video], seed: int) -> list[Video]:
    return sorted(videos, key=lambda video: _rank(video.key, seed))


def _rank(text: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\0{text}".encode()).digest()


def _number(count: str, total: int) -> int:
    """Videos that ``1000`` or ``10%`` of `total` are.

    Raises:
        UsageError: It is neither, or nothing.
    """
    try:
        share = float(count[:-1]) / 100 if count.endswith("%") else None
        number = int(count) if share is None else math.ceil(total * share)
    except ValueError:
        raise UsageError(f"a subset is a number or a percentage, not: {count!r}") from None
    if number < 1:
        raise UsageError(f"a subset needs at least one video, not: {count}")
    return min(number, total)


def _listed(videos: Sequence[Video], keys: Sequence[str]) -> list[Video]:
    by_key = {video.key: video for video in videos}
    for video in videos:  # ids without path or ending are what most lists hold
        by_key.setdefault(Path(video.key).stem, video)
    missing = [key for key in keys if key not in by_key]
    if missing:
        raise UsageError(
            f"{len(missing)} of {len(keys)} keys are not in the dataset, the first: {missing[0]}"
        )
    return list({by_key[key].key: by_key[key] for key in keys}.values())


def read_keys(path: Path) -> tuple[str, ...]:
    """Keys of a list file, one a line.

    Raises:
        UsageError: It cannot be read or holds none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the subset {path}: {error}") from None
    keys = tuple(line.strip() for line in lines if line.strip())
    if not keys:
        raise UsageError(f"the subset file is empty: {path}")
    return keys


def sha256(videos: Iterable[Video]) -> str:
    """Of the keys, whatever their order."""
    return hashlib.sha256("\n".join(sorted(video.key for video in videos)).encode()).hexdigest()
