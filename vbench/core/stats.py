"""Summaries of samples. Medians and percentiles, because latency has one long tail."""

import math
import statistics
from collections.abc import Sequence


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
