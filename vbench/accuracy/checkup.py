"""Whether a user's copy of a dataset is whole: counts, missing and unreadable files, classes."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from vbench.accuracy import datasets, protocols
from vbench.accuracy.container import require_av
from vbench.accuracy.datasets import DATASETS, Dataset, Video
from vbench.accuracy.decode import VIDEO_ENDINGS
from vbench.accuracy.decoding import DecodingPool
from vbench.accuracy.evaluate import default_workers
from vbench.accuracy.subsets import SubsetSpec, choose

NUM_NAMED: Final = 20
DECODE_TIMEOUT_S: Final = 120.0
PROBE_SIZE_PX: Final = 32  # enough to see that three frames decode


class Finding(Struct, frozen=True, kw_only=True):
    """One fact about the copy.

    Attributes:
        is_ok: None where nothing says what it should be.
    """

    topic: str
    found: str
    expected: str = ""
    is_ok: bool | None = None


class Checkup(Struct, frozen=True, kw_only=True):
    """What was found.

    Attributes:
        missing: The first videos that are not there.
        unreadable: Videos that cannot be read, with the reason; those that were decoded.
    """

    dataset: str
    split: str
    list_sha256: str
    class_sha256: dict[str, str]
    findings: tuple[Finding, ...]
    num_missing: int
    missing: tuple[str, ...]
    num_decoded: int
    unreadable: dict[str, str]

    @property
    def is_whole(self) -> bool:
        """Whether everything that can be checked is as it should be."""
        return (
            not self.missing
            and not self.unreadable
            and all(finding.is_ok is not False for finding in self.findings)
        )


def check(
    name: str,
    *,
    root: Path,
    annotations: Path | None = None,
    split: str | None = None,
    decode: SubsetSpec | None = None,
) -> Checkup:
    """Read the annotations, look for every video, and decode those of a subset.

    Raises:
        UsageError: There is no such dataset, or its annotations cannot be read.
        UnavailableError: Videos are to be decoded, and PyAV is not installed.
    """
    dataset = datasets.load(name, root=root, annotations=annotations, split=split)
    missing = [video for video in dataset.videos if not (root / video.path).exists()]
    gone = {video.key for video in missing}
    present = [video for video in dataset.videos if video.key not in gone]
    tried = choose(present, decode) if decode is not None and present else []
    unreadable = dict(_unreadable(root, tried))
    return Checkup(
        dataset=dataset.name,
        split=dataset.split,
        list_sha256=dataset.list_sha256,
        class_sha256=dataset.class_fingerprints,
        findings=tuple(_findings(dataset, len(present))),
        num_missing=len(missing),
        missing=tuple(video.path for video in missing[:NUM_NAMED]),
        num_decoded=len(tried),
        unreadable=unreadable,
    )


def _findings(dataset: Dataset, num_present: int) -> Iterator[Finding]:
    entry = DATASETS[dataset.name]
    listed = len(dataset.videos)
    known = entry.classes_of(dataset.split)
    published = entry.num_videos.get(dataset.split)
    yield Finding(
        topic="videos listed",
        found=str(listed),
        expected="" if published is None else str(published),
        is_ok=None if published is None else listed == published,
    )
    yield Finding(
        topic="videos present",
        found=f"{num_present} ({100 * num_present / listed:.1f} %)",
        expected=str(listed),
        is_ok=num_present == listed,
    )
    for head, classes in dataset.heads.items():
        wanted = known[head] if known else None
        yield Finding(
            topic=f"classes of {head}" if len(dataset.heads) > 1 else "classes",
            found=str(len(classes)),
            expected="" if wanted is None else str(wanted),
            is_ok=None if wanted is None else len(classes) == wanted,
        )
        counts = Counter(video.labels[head] for video in dataset.videos)
        most = counts.most_common(1)[0][1]
        yield Finding(
            topic=f"commonest {head}", found=f"{most} videos ({100 * most / listed:.1f} %)"
        )


def _unreadable(root: Path, videos: list[Video]) -> Iterator[tuple[str, str]]:
    """Decode three frames of each video, in processes of their own."""
    if not videos:
        return
    if any(Path(video.path).suffix.lower() in VIDEO_ENDINGS for video in videos):
        require_av()
    protocol = protocols.custom(num_frames=3, size_px=PROBE_SIZE_PX)
    pool = DecodingPool(root, protocol, num_workers=default_workers(), timeout_s=DECODE_TIMEOUT_S)
    try:
        pool.wait_until_ready()
        for video, result in zip(videos, pool.results(videos), strict=True):
            if result.decoded.error is not None:
                yield video.path, result.decoded.error
    finally:
        pool.close()
