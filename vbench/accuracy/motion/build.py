"""The benchmark on disk, laid out as real datasets are: MP4 files and annotations.

::

    motion.json                 size, seed and generator, so that two copies can be told apart
    labels_verb.csv  labels_noun.csv            id,name
    labels_verb_extended.csv  labels_rate.csv   of the lists that have them
    annotations/SPLIT.csv       a row a clip, as EPIC-KITCHENS-100 writes them; last to be written
    annotations/SPLIT.txt       path and action, as Kinetics lists are
    videos/SPLIT/CLIP_ID.mp4

Every frame is a key frame: frames predicted from earlier ones would carry the direction of time in
their coding errors.
"""

import csv
import io
import itertools
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from vbench.accuracy.container import require_av
from vbench.accuracy.motion import render
from vbench.accuracy.motion.labels import BASE, HEADS, NOUNS, is_held_out
from vbench.accuracy.motion.lists import SPLITS, Split
from vbench.core import processes, store
from vbench.core.errors import UsageError

HEADER_FILE: Final = "motion.json"
CONSTANT_RATE_FACTOR: Final = 23
CLIP_S: Final = render.NUM_FRAMES / render.FRAMES_PER_S
# Clips of a list for training, and of one for testing: ten of each action in `small`.
SIZES: Final = MappingProxyType(
    {"tiny": (480, 240), "small": (3_840, 960), "base": (19_200, 3_840)}
)


class Header(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which copy this is; equal headers mean equal frames."""

    size: str = "small"
    seed: int = 0
    generator_version: int = render.GENERATOR_VERSION


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """One clip of a list.

    Attributes:
        rate: Class of how often the verb happens.
    """

    clip_id: str
    verb: int
    noun: int
    rate: int
    file: str
    start_s: float


def default_root(header: Header) -> Path:
    """Where a copy lies that nobody gave a place to: the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "vbench" / f"motion-v{header.generator_version}-{header.size}-{header.seed}"


def clips_of(name: str, header: Header) -> list[Clip]:
    """The list of a split: every verb as often as the others, and with every noun and rate.

    For training, pairs that are held out are left out, one or two nouns a verb.

    Raises:
        UsageError: No such split or size.
    """
    if name not in SPLITS:
        raise UsageError(f"motion has no split {name}", hint=f"it has: {', '.join(SPLITS)}")
    if header.size not in SIZES:
        raise UsageError(f"motion has no size {header.size}", hint=f"it has: {', '.join(SIZES)}")
    split = SPLITS[name]
    num_clips = SIZES[header.size][0 if split.is_training else 1]
    words = split.vocabulary
    kinds = [
        (verb, noun, rate)
        for noun, rate, verb in itertools.product(
            range(len(NOUNS)), range(max(len(words.rates), 1)), range(len(words.verbs))
        )
        if not (split.is_training and is_held_out(verb, noun))
    ]
    # Steps that share no factor with the number of kinds, so that short lists mix nouns.
    stride = next(s for s in itertools.count(5) if math.gcd(s, len(kinds)) == 1)
    found = []
    for index in range(num_clips):
        verb, noun, rate = kinds[index * stride % len(kinds)]
        clip_id = f"{name}_{index:05d}"
        file, place = divmod(index, split.clips_per_file)
        stem = clip_id if split.clips_per_file == 1 else f"{name}_video_{file:04d}"
        found.append(
            Clip(clip_id=clip_id, verb=verb, noun=noun, rate=rate,
                 file=f"videos/{name}/{stem}.mp4", start_s=place * CLIP_S)
        )  # fmt: skip
    return found


def frames_of(clip: Clip, name: str, header: Header) -> NDArray[np.uint8]:
    """The frames before they are coded: (32, 112, 112, 3)."""
    split = SPLITS[name]
    return render.clip(
        f"{header.seed}/{clip.clip_id}",
        verb=clip.verb,
        noun=clip.noun,
        difficulty=msgspec.structs.replace(split.difficulty, num_cycles=1 + clip.rate),
        attributes=split.vocabulary.attributes,
    )


def is_built(root: Path, name: str) -> bool:
    """Whether a split is there, whole."""
    return (root / "annotations" / f"{name}.csv").is_file()


def build(
    root: Path, names: Sequence[str], header: Header, *, num_workers: int | None = None
) -> Iterator[str]:
    """Write the splits that are not there yet; yields each file as it is finished.

    A file stands under its name only when it is whole, so a build that was killed goes on.

    Raises:
        UsageError: The folder holds another copy, or a name is unknown.
        UnavailableError: PyAV is not installed.
        StoreError: The folder cannot be written.
    """
    _refuse_another(root, header)
    missing = [name for name in names if not is_built(root, name)]
    if not missing:
        return
    require_av()
    _write_labels(root, header)
    for name in missing:
        clips = clips_of(name, header)
        _write_own_labels(root, SPLITS[name])
        yield from processes.mapped(
            _write_file, _tasks(root, name, header, clips), num_workers=num_workers
        )
        _write_annotations(root, name, clips)


def num_files(root: Path, names: Sequence[str], header: Header) -> int:
    """Files that `build` would write."""
    missing = [name for name in names if not is_built(root, name)]
    return sum(len(_tasks(root, name, header, clips_of(name, header))) for name in missing)


Task = tuple[Path, str, Header, tuple[Clip, ...]]


def _tasks(root: Path, name: str, header: Header, clips: Sequence[Clip]) -> list[Task]:
    """The files of a list that are not there, each with its clips."""
    by_file = itertools.groupby(clips, key=lambda clip: clip.file)
    return [
        (root, name, header, tuple(members))
        for file, members in by_file
        if not (root / file).exists()
    ]


def read_header(root: Path) -> Header | None:
    """Which copy lies there; None where there is none.

    Raises:
        UsageError: It is no copy of this benchmark.
    """
    path = root / HEADER_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Header)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None


def _refuse_another(root: Path, header: Header) -> None:
    other = read_header(root)
    if other is not None and other != header:
        raise UsageError(
            f"{root} holds another copy: {_words(other)}, wanted: {_words(header)}",
            hint="choose another folder with --root",
        )


def _write_labels(root: Path, header: Header) -> None:
    store.write_text(root / HEADER_FILE, msgspec.json.encode(header).decode() + "\n")
    for head, names in HEADS.items():
        _write_classes(root / f"labels_{head}.csv", names)


def _write_own_labels(root: Path, split: Split) -> None:
    """The classes of a list that are not those of all lists."""
    words = split.vocabulary
    if words.verbs != BASE.verbs:
        _write_classes(root / "labels_verb_extended.csv", words.verbs)
    if words.rates:
        _write_classes(root / "labels_rate.csv", words.rates)


def _write_classes(path: Path, names: Sequence[str]) -> None:
    store.write_text(path, _csv(("id", "name"), list(enumerate(names))))


def _words(header: Header) -> str:
    return f"{header.size}, seed {header.seed}, generator {header.generator_version}"


def _write_file(task: Task) -> str:
    import av

    root, name, header, clips = task
    path = root / clips[0].file
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            encode(partial, (frames_of(clip, name, header) for clip in clips))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    except (OSError, av.FFmpegError) as error:
        raise store.cannot_write(path.parent, error) from None
    return clips[0].file


def encode(path: Path, clips: Iterator[NDArray[np.uint8]]) -> None:
    """Write an MP4 of H.264, all frames key frames."""
    import av

    size = str(render.SIDE_PX)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=render.FRAMES_PER_S)
        stream.width = stream.height = int(size)
        stream.pix_fmt = "yuv420p"
        stream.gop_size = 1
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = Fraction(1, render.FRAMES_PER_S)
        stream.options = {"crf": str(CONSTANT_RATE_FACTOR), "bf": "0", "preset": "veryfast"}
        for clip in clips:
            for frame in clip:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _write_annotations(root: Path, name: str, clips: Sequence[Clip]) -> None:
    columns, words = SPLITS[name].columns, SPLITS[name].vocabulary
    rows = [
        (
            clip.clip_id, words.verbs[clip.verb], clip.verb, NOUNS[clip.noun], clip.noun,
            _timestamp(clip.start_s), _timestamp(clip.start_s + CLIP_S),
            *((words.rates[clip.rate], clip.rate) if words.rates else ()),
        )
        for clip in clips
    ]  # fmt: skip
    listed = [f"{clip.file} {clip.noun * len(words.verbs) + clip.verb}\n" for clip in clips]
    store.write_text(root / "annotations" / f"{name}.txt", "".join(listed))
    store.write_text(root / "annotations" / f"{name}.csv", _csv(columns, rows))


def _timestamp(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"00:{int(minutes):02d}:{rest:05.2f}"


def _csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
