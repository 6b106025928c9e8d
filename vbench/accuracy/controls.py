"""Clips with their time taken away: what a model still scores then, it does not owe to time.

Legend: V views, T frames.
"""

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

SHUFFLED: Final = "shuffled"
REVERSED: Final = "reversed"
STATIC: Final = "static"
CONTROLS: Final = (SHUFFLED, REVERSED, STATIC)


def controlled(views: "Tensor", control: str, key: str) -> "Tensor":
    """The views of a video under a control: (V, 3, T, H, W) to the same shape.

    ``shuffled`` puts the frames of each view in an order of its own, always the same for the same
    video; ``reversed`` plays them backwards; ``static`` repeats the middle frame.
    """
    num_frames = views.shape[2]
    if control == REVERSED:
        return views.flip(2)
    if control == STATIC:
        middle = num_frames // 2
        return views[:, :, middle : middle + 1].expand_as(views)
    shuffled = views.clone()
    for place, view in enumerate(views):
        shuffled[place] = view[:, _order(f"{key}/{place}", num_frames)]
    return shuffled


def _order(key: str, num_frames: int) -> list[int]:
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
    return [int(place) for place in np.random.default_rng(seed).permutation(num_frames)]


def expected_labels(
    labels: Mapping[str, int], reversals: Mapping[str, tuple[int, ...]], control: str
) -> dict[str, int]:
    """The classes that are right under a control: their reversals if time is reversed.

    A class whose reversal is none of the classes keeps its label.
    """
    if control != REVERSED:
        return dict(labels)
    found = {head: reversals[head][label] if head in reversals else label
             for head, label in labels.items()}  # fmt: skip
    return {head: labels[head] if label < 0 else label for head, label in found.items()}
