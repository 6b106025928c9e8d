"""How sure an accuracy is: intervals of one number.

Wilson's interval for a share of independent videos; a bootstrap where the number is no plain share
(means over classes, squared errors) or where videos depend on each other (segments of one video).
All values are shares in [0, 1] or in the metric's own unit, never percent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

CONFIDENCE: Final = 0.95
NUM_RESAMPLES: Final = 2000
_CHUNK: Final = 200  # resamples drawn at once, so that 20,000 videos stay under 100 MB


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """Where the true value lies with a confidence of 95 %.

    Attributes:
        method: How it was computed, for the reader of a table.
    """

    low: float
    high: float
    method: str

    @property
    def half_width(self) -> float:
        """Half its length."""
        return (self.high - self.low) / 2


def wilson(num_correct: int, num_videos: int, *, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval: never leaves [0, 1] and is right at 50 videos and at 100 %.

    It answers for new videos of the same kind.

    >>> interval = wilson(80, 100)
    >>> f"{interval.low:.3f} {interval.high:.3f}"
    '0.711 0.867'
    """
    found = stats.binomtest(num_correct, num_videos).proportion_ci(confidence, method="wilson")
    return Interval(low=float(found.low), high=float(found.high), method="Wilson")


def finite_population(interval: Interval, *, num_videos: int, num_listed: int) -> Interval:
    """The interval for the score on the whole list, of which a random subset was evaluated.

    It is narrower than that for new videos by sqrt((N - n) / (N - 1)), about its own middle, and a
    point once the subset is the list.
    """
    if num_videos > num_listed:
        raise ValueError(f"a subset of {num_videos} is larger than its list of {num_listed}")
    if num_listed <= 1:
        factor = 0.0
    else:
        factor = float(np.sqrt((num_listed - num_videos) / (num_listed - 1)))
    middle = (interval.low + interval.high) / 2
    reach = interval.half_width * factor
    return Interval(
        low=middle - reach,
        high=middle + reach,
        method=f"{interval.method}, finite list",
    )


def bootstrap(
    numerators: ArrayLike,
    denominators: ArrayLike,
    *,
    groups: Sequence[str] | None = None,
    strata: Sequence[int] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of a mean over columns of sum(numerators) / sum(denominators).

    One column is an ordinary mean (denominators 1); a column a class is the mean over classes.
    A class without a video in a resample is left out of that resample's mean.

    Args:
        numerators: (N,) or (N, K), a row a video.
        denominators: The same shape.
        groups: Clusters resampled whole, e.g. the video of a segment; None for single videos.
        strata: Resample within these, e.g. classes; not together with `groups`.
        num_resamples: B.
        seed: Of the resampling; the same gives the same interval.
    """
    tops, bottoms = _two_dimensional(numerators), _two_dimensional(denominators)
    if groups is not None:
        tops, bottoms = _summed(tops, groups), _summed(bottoms, groups)
    generator = np.random.default_rng(seed)
    values = np.concatenate(
        [
            _ratio_means(_weights(generator, count, len(tops), strata), tops, bottoms)
            for count in _chunks(num_resamples)
        ]
    )
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    unit = "bootstrap" if groups is None else f"bootstrap over {len(tops)} groups"
    return Interval(low=float(low), high=float(high), method=unit)


def ratio_mean(numerators: ArrayLike, denominators: ArrayLike) -> float:
    """The number that `bootstrap` resamples, of the videos themselves."""
    tops, bottoms = _two_dimensional(numerators), _two_dimensional(denominators)
    return float(_ratio_means(np.ones((1, len(tops))), tops, bottoms)[0])


def _chunks(total: int) -> list[int]:
    whole, rest = divmod(total, _CHUNK)
    return [_CHUNK] * whole + ([rest] if rest else [])


def _two_dimensional(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    return array[:, None] if array.ndim == 1 else array


def _summed(values: NDArray[np.float64], groups: Sequence[str]) -> NDArray[np.float64]:
    names, index = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), values.shape[1]))
    np.add.at(sums, index, values)
    return sums


def _weights(
    generator: np.random.Generator, count: int, num_rows: int, strata: Sequence[int] | None
) -> NDArray[np.float64]:
    """How often each row is drawn: (count, num_rows)."""
    labels = np.zeros(num_rows, dtype=np.int64) if strata is None else np.asarray(strata)
    weights = np.zeros((count, num_rows))
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        weights[:, rows] = generator.multinomial(
            len(rows), np.full(len(rows), 1 / len(rows)), size=count
        )
    return weights


def _ratio_means(
    weights: NDArray[np.float64], tops: NDArray[np.float64], bottoms: NDArray[np.float64]
) -> NDArray[np.float64]:
    numerator, denominator = weights @ tops, weights @ bottoms
    present = denominator > 0
    ratios = np.where(present, numerator / np.where(present, denominator, 1), 0)
    means: NDArray[np.float64] = ratios.sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    return means
