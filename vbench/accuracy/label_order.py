"""Whether a checkpoint's classes stand in another order than the labels.

Two released Kinetics checkpoints may number the same classes differently; evaluated with the wrong
list a good model scores at chance. Then its predictions are nearly a relabelling of the truth.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

NUM_SHUFFLES: Final = 10
LEAST_EXCESS: Final = 0.15  # of the matched accuracy over that of shuffled predictions


@dataclass(frozen=True, kw_only=True, slots=True)
class OrderCheck:
    """What the predictions say of the order of classes.

    Attributes:
        matched: Accuracy under the relabelling that fits best. A diagnosis, never a result.
        by_chance: The same of shuffled predictions, the most of ten times.
        is_suspect: Near chance as it is, and far above it when relabelled.
    """

    accuracy: float
    matched: float
    by_chance: float
    is_suspect: bool


def check_order(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], *, num_classes: int, seed: int = 0
) -> OrderCheck:
    """Look for a relabelling that would make bad predictions good."""
    accuracy = float(np.mean(labels == predictions))
    matched = _matched_accuracy(labels, predictions, num_classes)
    generator = np.random.default_rng(seed)
    by_chance = max(
        _matched_accuracy(labels, generator.permutation(predictions), num_classes)
        for _ in range(NUM_SHUFFLES)
    )
    return OrderCheck(
        accuracy=accuracy,
        matched=matched,
        by_chance=by_chance,
        is_suspect=accuracy < 2 / num_classes and matched > by_chance + LEAST_EXCESS,
    )


def _matched_accuracy(
    labels: NDArray[np.int64], predictions: NDArray[np.int64], num_classes: int
) -> float:
    confusion = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(confusion, (labels, predictions), 1)
    rows, columns = linear_sum_assignment(confusion, maximize=True)
    return float(confusion[rows, columns].sum() / len(labels))
