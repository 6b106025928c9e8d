"""How sure an accuracy is: intervals of one number.

Wilson's interval for a share of independent videos; a bootstrap where the number is no plain share
(means over classes, squared errors) or where videos depend on each other (segments of one video).
All values are shares in [0, 1] or in the metric's own unit, never percent.
"""

from collections.abc import Iterator, Mapping, Sequence
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


def stratified(right: ArrayLike, strata: Sequence[int], num_listed: Mapping[int, int]) -> Interval:
    """The interval for the score on the whole list, from some random videos of each class.

    The score is the mean of the classes' shares, weighted by their videos on the list; its standard
    error is sqrt(sum W^2 p (1 - p) / (n - 1) (1 - f)) with W a class's part of the list, n its
    videos here, p its share and f = n over its videos on the list. A class with one video is joined
    with the next, for its variance cannot be seen. The interval is Wilson's at the number of
    independent videos that would have this standard error.

    Args:
        right: (N,) whether each video is right.
        strata: Class of each video.
        num_listed: Videos of each class on the list.
    """
    hits = np.asarray(right, dtype=np.float64)
    share, variance, total = 0.0, 0.0, sum(num_listed.values())
    for members, listed in _joined_strata(np.asarray(strata), num_listed):
        weight, p, n = listed / total, float(hits[members].mean()), len(members)
        share += weight * p
        variance += weight**2 * p * (1 - p) / max(n - 1, 1) * (1 - n / listed)
    if variance <= 0:  # all right, all wrong, or all here: nothing is seen of the spread
        plain = wilson(int(hits.sum()), len(hits))
        return finite_population(plain, num_videos=len(hits), num_listed=total)
    effective = share * (1 - share) / variance
    z = float(stats.norm.ppf((1 + CONFIDENCE) / 2))
    middle = (share + z * z / (2 * effective)) / (1 + z * z / effective)
    spread = share * (1 - share) / effective + z * z / (4 * effective**2)
    reach = z / (1 + z * z / effective) * float(np.sqrt(spread))
    return Interval(low=middle - reach, high=middle + reach, method="Wilson, stratified")


def _joined_strata(
    strata: NDArray[np.int64], num_listed: Mapping[int, int]
) -> Iterator[tuple[NDArray[np.intp], int]]:
    """Videos of each class and their number on the list, no class with less than two videos.

    Classes are joined in the order of their size on the list, so that alike ones meet.
    """
    members: list[NDArray[np.intp]] = []
    listed = 0
    order = sorted(num_listed, key=lambda name: (num_listed[name], name))
    last: tuple[NDArray[np.intp], int] | None = None
    for name in order:
        members.append(np.flatnonzero(strata == name))
        listed += num_listed[name]
        if sum(map(len, members)) >= 2:
            if last is not None:
                yield last
            last, members, listed = (np.concatenate(members), listed), [], 0
    if last is None:
        yield np.concatenate(members), listed
    else:  # what is left over goes to the largest
        yield np.concatenate([last[0], *members]), last[1] + listed


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
