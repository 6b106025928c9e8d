"""How a quantity grows with frames, and where two curves cross. Nothing is extrapolated."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_EXPONENTS: Final = (-1.0, 5.0)
_GRID: Final = 121
_HALVINGS: Final = 40
# Two-sided 95 % quantiles of Student's t by degrees of freedom; beyond, the expansion below.
_STUDENT: Final = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281)

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class PowerLaw:
    """offset + factor * x^exponent, fitted by least squares of the relative error.

    Attributes:
        low: Lower end of the exponent's 95 % interval; None where as many values as unknowns were
            given. The interval says how well the law describes the points, which includes any
            bend in them.
        has_free_offset: Whether the offset was fitted and not given.
        worst_percent: Largest relative distance of a point from the law.
    """

    offset: float
    factor: float
    exponent: float
    low: float | None
    high: float | None
    has_free_offset: bool
    worst_percent: float


def fit_power_law(
    x: Sequence[float], y: Sequence[float], *, offset: float | None = 0.0
) -> PowerLaw | None:
    """Fit y = offset + factor * x^exponent; None with fewer than 3 different x or a y <= 0.

    For each exponent the rest is linear, so only the exponent is searched. Its interval holds
    every exponent whose residual an F test at 95 % cannot tell from the best.

    Args:
        offset: What does not grow, if it is known; None to fit it too, from 4 different x on
            (with 3 it is taken as 0).
    """
    xs, ys = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    distinct = len(set(x))
    if distinct < 3 or np.any(ys <= (offset or 0.0)) or np.any(xs <= 0):
        return None
    is_free = offset is None and distinct >= 4
    given = None if is_free else offset or 0.0
    scaled = xs / xs.max()  # so that no power overflows

    def residual(exponent: float) -> float:
        return _linear_part(scaled, ys, exponent, given)[2]

    best = _minimum(residual)
    constant, factor, squares = _linear_part(scaled, ys, best, given)
    freedom = len(xs) - (3 if is_free else 2)
    low, high = _interval(residual, best, squares, freedom)
    fitted = constant + factor * scaled**best
    return PowerLaw(
        offset=constant,
        factor=factor / float(xs.max()) ** best,
        exponent=best,
        low=low,
        high=high,
        has_free_offset=is_free,
        worst_percent=float(np.max(np.abs(fitted / ys - 1))) * 100,
    )


def _linear_part(
    x: Floats, y: Floats, exponent: float, offset: float | None
) -> tuple[float, float, float]:
    """Best (offset, factor, sum of squared relative residuals) for one exponent."""
    growth, flat = x**exponent / y, 1 / y
    if offset is None:
        offset = max(_free_offset(growth, flat), 0.0)
    target = 1 - offset * flat
    factor = float(growth @ target / (growth @ growth))
    residual = factor * growth - target
    return offset, factor, float(residual @ residual)


def _free_offset(growth: Floats, flat: Floats) -> float:
    """Offset of the two-term least squares; 0 where the terms cannot be told apart."""
    gg, ff, gf = growth @ growth, flat @ flat, growth @ flat
    determinant = gg * ff - gf * gf
    if determinant <= 1e-9 * gg * ff:
        return 0.0
    return float((flat.sum() * gg - growth.sum() * gf) / determinant)


def _minimum(residual: Callable[[float], float]) -> float:
    """Least point by a grid, then golden section between the best point's neighbours."""
    grid = np.linspace(*_EXPONENTS, _GRID)
    step = float(grid[1] - grid[0])
    best = float(grid[int(np.argmin([residual(float(p)) for p in grid]))])
    low, high = best - step, best + step
    golden = (math.sqrt(5) - 1) / 2
    for _ in range(_HALVINGS):
        left, right = high - golden * (high - low), low + golden * (high - low)
        if residual(left) < residual(right):
            high = right
        else:
            low = left
    return (low + high) / 2


def _interval(
    residual: Callable[[float], float], best: float, squares: float, freedom: int
) -> tuple[float | None, float | None]:
    if freedom < 1:
        return None, None
    limit = squares * (1 + student_95(freedom) ** 2 / freedom) + 1e-24

    def edge(direction: float) -> float:
        inside, outside = best, best + direction * 1e-6
        while residual(outside) <= limit and abs(outside - best) < 10:
            inside, outside = outside, best + 2 * (outside - best)
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            if residual(middle) <= limit:
                inside = middle
            else:
                outside = middle
        return inside

    return edge(-1.0), edge(1.0)


def student_95(freedom: int) -> float:
    """97.5 % quantile of Student's t.

    >>> student_95(4)
    2.7764
    """
    if freedom <= len(_STUDENT):
        return _STUDENT[freedom - 1]
    z = 1.959964  # Cornish-Fisher: Abramowitz and Stegun 26.7.5, three terms
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def crossover(x: Sequence[float], ratio: Sequence[float]) -> float | None:
    """Where a ratio passes 1, interpolated between two given x on log axes; None if nowhere.

    The last of several passings, since that one decides what holds for larger inputs.

    >>> round(crossover([8, 16, 32], [0.5, 0.8, 1.25]), 3)
    22.627
    """
    logs = [math.log(value) for value in ratio]
    for i in range(len(x) - 1, 0, -1):
        before, after = logs[i - 1], logs[i]
        if before * after < 0 or (after == 0 and before != 0):
            share = before / (before - after)
            return math.exp(math.log(x[i - 1]) * (1 - share) + math.log(x[i]) * share)
    return None
