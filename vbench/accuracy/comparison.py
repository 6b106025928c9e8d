"""Two accuracies: a model against another on the same videos, or against a published number."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from vbench.accuracy.intervals import CONFIDENCE, NUM_RESAMPLES, Interval, bootstrap

POWER: Final = 0.8
EXACT_LIMIT: Final = 1000  # discordant videos up to which McNemar's test is exact

Verdict = Literal["consistent with published", "differs from published", "undecided"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """Two models on the same videos.

    Attributes:
        difference: Accuracy of the second less that of the first.
        only_first: Videos that only the first has right (b).
        only_second: Videos that only the second has right (c).
        p_value: McNemar's, two-sided.
        mid_p_value: The same with half the weight on what was seen; less conservative.
        detectable: Least difference found with a power of 80 % at this share of discordant videos.
    """

    num_videos: int
    difference: float
    interval: Interval
    only_first: int
    only_second: int
    p_value: float
    mid_p_value: float
    test: str
    detectable: float


def paired(
    first: NDArray[np.bool_],
    second: NDArray[np.bool_],
    *,
    groups: Sequence[str] | None = None,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Paired:
    """Compare two models by what each has right on the same videos, in the same order."""
    if len(first) != len(second) or not len(first):
        raise ValueError(f"wanted as many videos of both, got {len(first)} and {len(second)}")
    only_first = int(np.sum(first & ~second))
    only_second = int(np.sum(~first & second))
    p_value, mid_p_value, test = mcnemar(only_first, only_second)
    change = second.astype(np.float64) - first.astype(np.float64)
    interval = bootstrap(
        change, np.ones_like(change), groups=groups, num_resamples=num_resamples, seed=seed
    )
    return Paired(
        num_videos=len(first),
        difference=float(change.mean()),
        interval=interval,
        only_first=only_first,
        only_second=only_second,
        p_value=p_value,
        mid_p_value=mid_p_value,
        test=test,
        detectable=detectable_difference(len(first), (only_first + only_second) / len(first)),
    )


def mcnemar(only_first: int, only_second: int) -> tuple[float, float, str]:
    """McNemar's test on the videos that the models disagree about: p, mid-p, and its name.

    >>> p, mid_p, test = mcnemar(10, 25)
    >>> f"{p:.4f} {mid_p:.4f} {test}"
    '0.0167 0.0113 McNemar exact'
    """
    discordant = only_first + only_second
    if discordant == 0:
        return 1.0, 1.0, "McNemar exact"
    if discordant > EXACT_LIMIT:
        statistic = (abs(only_first - only_second) - 1) ** 2 / discordant
        p_value = float(stats.chi2.sf(max(statistic, 0.0), df=1))
        return p_value, p_value, "McNemar with continuity correction"
    p_value = float(stats.binomtest(only_first, discordant, 0.5).pvalue)
    seen = float(stats.binom.pmf(min(only_first, only_second), discordant, 0.5))
    # Both tails hold what was seen, unless it is the middle and so counted once.
    mid_p_value = p_value - seen if only_first != only_second else 1.0 - seen / 2
    return p_value, mid_p_value, "McNemar exact"


def detectable_difference(
    num_videos: int, discordant_share: float, *, power: float = POWER
) -> float:
    """Least difference of two models on the same videos that is found with this power.

    >>> f"{detectable_difference(1000, 0.10):.3f}"
    '0.028'
    """
    quantiles = stats.norm.ppf((1 + CONFIDENCE) / 2) + stats.norm.ppf(power)
    return float(quantiles * math.sqrt(discordant_share / num_videos))


@dataclass(frozen=True, kw_only=True, slots=True)
class Equivalence:
    """A measured accuracy against a published one, which is a sample too.

    Attributes:
        difference: Measured less published.
        interval: Of the difference.
        margin: Within which the two count as the same.
        p_value: Two-proportion z test that they are equal.
        equivalence_p_value: Two one-sided tests (TOST) that they differ by the margin or more.
    """

    difference: float
    interval: Interval
    margin: float
    p_value: float
    equivalence_p_value: float
    verdict: Verdict


def equivalence(
    *,
    accuracy: float,
    num_videos: int,
    published: float,
    num_published: int,
    margin: float = 0.005,
) -> Equivalence:
    """Whether a measured accuracy is that which was published, within `margin`.

    Consistent: TOST rejects a difference of the margin or more at 5 %. Differs: the z test rejects
    equality at 5 %, and TOST does not reject. Undecided otherwise: too few videos.
    """
    difference = accuracy - published
    error = math.sqrt(_variance(accuracy, num_videos) + _variance(published, num_published))
    p_value = float(2 * stats.norm.sf(abs(difference) / error))
    tost = float(stats.norm.sf((margin - abs(difference)) / error))
    reach = float(stats.norm.ppf((1 + CONFIDENCE) / 2)) * error
    verdict: Verdict = "undecided"
    if tost < 1 - CONFIDENCE:
        verdict = "consistent with published"
    elif p_value < 1 - CONFIDENCE:
        verdict = "differs from published"
    return Equivalence(
        difference=difference,
        interval=Interval(low=difference - reach, high=difference + reach, method="normal"),
        margin=margin,
        p_value=p_value,
        equivalence_p_value=tost,
        verdict=verdict,
    )


def _variance(accuracy: float, num_videos: int) -> float:
    """Of a share, kept above zero at 0 and 1 by two added successes and failures (Agresti)."""
    adjusted = (accuracy * num_videos + 2) / (num_videos + 4)
    return adjusted * (1 - adjusted) / (num_videos + 4)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for having made all these comparisons (Holm's step-down).

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected
