"""Batches of augmented clips; a batch depends on the seed and its step alone.

The augmentation is exact for every verb: clips are periodic in time and space, so that rolling
either keeps the labels, and reversing time gives the partner's.
Legend: B clips, T frames, S side in pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vbench.accuracy.fit.frames import Frames
from vbench.accuracy.fit.recipe import Recipe
from vbench.accuracy.transforms import Spatial


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Clips and their classes; the second half are the reversals of the first.

    Attributes:
        clips: (B, T, S, S, 3), 8-bit RGB.
        labels: Of each head, (B,).
    """

    clips: NDArray[np.uint8]
    labels: dict[str, NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Lists:
    """What is trained on.

    Attributes:
        heads: Number of classes of each.
        reversals: For a head, the class that each class becomes if time is reversed.
        spatial: How the frames were resized, and how they are normalised.
        split: Name of the one list that is both; empty for the benchmark's two.
    """

    easy: Frames
    medium: Frames
    heads: Mapping[str, int]
    reversals: Mapping[str, Sequence[int]]
    spatial: Spatial
    split: str = ""


def batch(step: int, recipe: Recipe, lists: Lists, *, num_frames: int) -> Batch:
    """The batch of a step, from 0."""
    rng = np.random.default_rng((recipe.seed, step))
    num_drawn = recipe.batch_clips // 2
    from_medium = rng.random(num_drawn) < recipe.medium_share_at(step)
    clips, labels = [], []
    for is_medium in from_medium:
        source = lists.medium if is_medium else lists.easy
        place = int(rng.integers(len(source.pixels)))
        clips.append(_rolled(rng, source.pixels[place], num_frames))
        labels.append({head: int(classes[place]) for head, classes in source.labels.items()})
    forwards = np.stack(clips)
    columns = {head: np.array([label[head] for label in labels]) for head in labels[0]}
    backwards = {
        head: np.array(lists.reversals[head])[classes] if head in lists.reversals else classes
        for head, classes in columns.items()
    }
    return Batch(
        clips=np.concatenate((forwards, forwards[:, ::-1])),
        labels={head: np.concatenate((columns[head], backwards[head])) for head in columns},
    )


def _rolled(
    rng: np.random.Generator, clip: NDArray[np.uint8], num_frames: int
) -> NDArray[np.uint8]:
    """T evenly spaced frames from anywhere in the cycle, moved over the torus: (T, S, S, 3)."""
    length, side = clip.shape[:2]
    steps = np.arange(num_frames) * length // num_frames
    frames = clip[(int(rng.integers(length)) + steps) % length]
    down, right = rng.integers(side, size=2)
    return np.roll(frames, (int(down), int(right)), axis=(1, 2))
