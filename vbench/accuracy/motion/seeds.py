"""How far trainings of one model from different seeds lie apart, and where another will score."""

from collections.abc import Mapping, Sequence
from math import asin, pi, sin, sqrt

import numpy as np
from scipy import stats

from vbench.core.errors import UsageError


def predicted(shares: Mapping[str, Sequence[float]]) -> dict[str, tuple[float, float]]:
    """The 95 % prediction interval of one more training of each model.

    The spread over seeds is pooled over the models, for three trainings of one tell little of it.
    It is taken of the angle 2 asin(sqrt(share)), whose variance by drawing clips does not depend
    on the share.

    Args:
        shares: Of each model, what its trainings scored, from 0 to 1.

    Raises:
        UsageError: No model was trained twice.
    """
    angles = {m: np.array([2 * asin(sqrt(share)) for share in of]) for m, of in shares.items()}
    freedom = sum(len(of) - 1 for of in angles.values())
    if not freedom:
        raise UsageError(
            f"no model was trained from two seeds, of: {', '.join(shares)}",
            hint="`make seeds` trains some again",
        )
    spread = sqrt(sum(((of - of.mean()) ** 2).sum() for of in angles.values()) / freedom)
    quantile = float(stats.t.ppf(0.975, freedom))
    return {
        model: _around(float(of.mean()), quantile * spread * sqrt(1 + 1 / len(of)))
        for model, of in angles.items()
    }


def _around(angle: float, half_width: float) -> tuple[float, float]:
    low, high = max(angle - half_width, 0.0), min(angle + half_width, pi)
    return sin(low / 2) ** 2, sin(high / 2) ** 2
