"""Frames of a training list, decoded once and kept beside it as they reach a model.

They are decoded and resized by the code that evaluates, so that a model is trained on what it will
be tested on, coding errors included. Legend: N clips, F frames of a clip, S side in pixels.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vbench.accuracy.datasets import Dataset
from vbench.accuracy.decode import opened
from vbench.accuracy.motion.render import NUM_FRAMES
from vbench.accuracy.transforms import Spatial, resize
from vbench.core import processes, store


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames:
    """A list in memory that is shared with the disk.

    Attributes:
        pixels: RGB, (N, F, S, S, 3).
        labels: Of each head, (N,).
    """

    pixels: NDArray[np.uint8]
    labels: dict[str, NDArray[np.int64]]


def path_of(dataset: Dataset, spatial: Spatial) -> Path:
    """Where the frames of a list are kept."""
    return dataset.root / "frames" / f"{dataset.split}-{spatial.crop_px}px.npy"


def load(dataset: Dataset, spatial: Spatial) -> Frames:
    """What `decode` has written."""
    labels = {
        head: np.array([video.labels[head] for video in dataset.videos], dtype=np.int64)
        for head in dataset.heads
    }
    return Frames(pixels=np.load(path_of(dataset, spatial), mmap_mode="r"), labels=labels)


def decode(dataset: Dataset, spatial: Spatial, *, num_workers: int | None = None) -> Iterator[str]:
    """Decode a list if that was not done before; yields each clip's key.

    Raises:
        DecodeError: A clip cannot be read.
        StoreError: There is no room for the frames.
    """
    path = path_of(dataset, spatial)
    if path.exists():
        return
    shape = (len(dataset.videos), NUM_FRAMES, spatial.crop_px, spatial.crop_px, 3)
    partial = path.with_name(f".{path.name}.part")
    tasks = [(dataset.root / video.path, spatial) for video in dataset.videos]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = _reserved(partial, shape)
        decoded = processes.mapped(_read, tasks, num_workers=num_workers)
        for place, (video, clip) in enumerate(zip(dataset.videos, decoded, strict=True)):
            kept[place] = clip
            yield video.key
        kept.flush()
        partial.replace(path)
    except OSError as error:
        raise store.cannot_write(path.parent, error) from None
    finally:
        partial.unlink(missing_ok=True)


def _reserved(path: Path, shape: tuple[int, ...]) -> np.memmap[tuple[int, ...], np.dtype[np.uint8]]:
    """An array on the disk whose room is taken at once: a page that finds none would kill us."""
    kept = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return kept


def _read(task: tuple[Path, Spatial]) -> NDArray[np.uint8]:
    path, spatial = task
    with opened(path) as source:
        frames = source.read(range(NUM_FRAMES), lambda frame: resize(frame, spatial))
    return np.stack([frames[index] for index in range(NUM_FRAMES)])
