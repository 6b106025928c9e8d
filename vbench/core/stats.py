"""Summaries of samples. Medians and percentiles, because latency has one long tail."""

import math
import statistics
from collections.abc import Sequence
from typing import Final

# Two-sided 95 % of Student's distribution by degrees of freedom, from 1; the last serves for more.
STUDENT: Final = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)
_LEAST_PROCESSES: Final = 3  # for their spread to stand alone


def median(values: Sequence[float]) -> float:
    """Middle value, or the mean of the two middle values.

    >>> median([4.0, 1.0, 3.0, 2.0])
    2.5
    """
    return statistics.median(values)


def percentile(values: Sequence[float], q: float) -> float:
    """Linear-interpolated percentile, as ``numpy.percentile`` does by default.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 50)
    2.5
    """
    ordered = sorted(values)
    position = (len(ordered) - 1) * q / 100
    low = int(position)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (position - low)


def median_interval(
    values: Sequence[float], *, confidence: float = 0.95
) -> tuple[float, float] | None:
    """Confidence interval of the median from order statistics, free of any distribution.

    The r-th smallest and r-th largest of n independent samples enclose the median with
    probability 1 - 2 P(Binomial(n, 1/2) < r). None with too few samples for the confidence
    (under 6 for 95 %).

    >>> median_interval([float(i) for i in range(1, 11)])
    (2.0, 9.0)
    >>> median_interval([1.0, 2.0, 3.0]) is None
    True
    """
    n = len(values)
    tail = (1 - confidence) / 2
    cumulative = 0.0
    rank = 0
    for k in range(n):
        cumulative += math.comb(n, k) * 0.5**n if n < 1000 else _binomial_half(n, k)
        if cumulative > tail:
            break
        rank = k + 1
    if rank == 0:
        return None
    ordered = sorted(values)
    return ordered[rank - 1], ordered[n - rank]


def ratio_interval(
    before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]
) -> tuple[float, float] | None:
    """Confidence interval (95 %) of one pooled median over another, of positive samples.

    It holds two intervals. Of the spread of samples: both medians' own intervals, joined on the
    logarithm by the method of variance estimates recovery (Zou and Donner 2008,
    doi:10.1002/sim.3095), which assumes no distribution and draws nothing at random. Of the spread
    of processes, where there are several: Student's, with each process's median as one value.

    Args:
        before: Samples of each process, the denominator.
        after: Those of the numerator.

    Returns:
        None with too few samples on a side (under 6), unless it has three processes.

    >>> low, high = ratio_interval([[1.0] * 10], [[1.2] * 10])
    >>> round(low, 3), round(high, 3)
    (1.2, 1.2)
    """
    within, between = _within_processes(before, after), _between_processes(before, after)
    if within is None and min(len(before), len(after)) < _LEAST_PROCESSES:
        return None
    found = [interval for interval in (within, between) if interval is not None]
    if not found:
        return None
    return math.exp(min(low for low, _ in found)), math.exp(max(high for _, high in found))


def _within_processes(
    before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]
) -> tuple[float, float] | None:
    ours, theirs = _log_median(after), _log_median(before)
    if ours is None or theirs is None:
        return None
    ratio = ours[1] - theirs[1]
    below = math.hypot(ours[1] - ours[0], theirs[2] - theirs[1])
    above = math.hypot(ours[2] - ours[1], theirs[1] - theirs[0])
    return ratio - below, ratio + above


def _log_median(processes: Sequence[Sequence[float]]) -> tuple[float, float, float] | None:
    """The pooled median between the ends of its interval, as logarithms."""
    pooled = [value for process in processes for value in process]
    interval = median_interval(pooled)
    if interval is None or interval[0] <= 0:
        return None
    return math.log(interval[0]), math.log(median(pooled)), math.log(interval[1])


def _between_processes(
    before: Sequence[Sequence[float]], after: Sequence[Sequence[float]]
) -> tuple[float, float] | None:
    """Student's interval of the difference of mean log medians, their variance in common."""
    medians = [[median(process) for process in side] for side in (before, after)]
    degrees = sum(map(len, medians)) - 2
    if degrees < 1 or min(map(min, medians)) <= 0:
        return None
    sides = [list(map(math.log, side)) for side in medians]
    means = [statistics.fmean(side) for side in sides]
    squares = sum((x - mean) ** 2 for side, mean in zip(sides, means, strict=True) for x in side)
    error = math.sqrt(squares / degrees * sum(1 / len(side) for side in sides))
    reach = STUDENT[min(degrees, len(STUDENT)) - 1] * error
    return means[1] - means[0] - reach, means[1] - means[0] + reach


def _binomial_half(n: int, k: int) -> float:
    log = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
    return math.exp(log)


def half_width_percent(values: Sequence[float]) -> float | None:
    """Half the width of the median's 95 % interval, relative to the median.

    >>> half_width_percent([1.0] * 10)
    0.0
    """
    interval = median_interval(values)
    middle = median(values) if values else 0.0
    if interval is None or middle <= 0:
        return None
    return 50.0 * (interval[1] - interval[0]) / middle


def outliers(values: Sequence[float]) -> list[int]:
    """Indices of samples over 14.826 median absolute deviations from the median.

    That is ten standard deviations of a normal sample, hyperfine's threshold. They are listed for
    the reader, never removed.

    >>> outliers([1.0, 1.01, 0.99, 1.02, 0.98, 5.0])
    [5]
    """
    if len(values) < 3:
        return []
    middle = median(values)
    spread = median([abs(value - middle) for value in values])
    if spread == 0:
        return []
    return [i for i, value in enumerate(values) if abs(value - middle) / spread > 14.826]
