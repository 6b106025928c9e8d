import numpy as np
import pytest
from scipy import stats as scipy_stats

from vbench.core import stats


@pytest.mark.parametrize("n", [6, 7, 10, 31, 100, 999, 1500])
def test_median_interval_has_the_ranks_of_the_binomial(n):
    low, high = stats.median_interval([float(i) for i in range(n)]) or (None, None)
    rank = int(scipy_stats.binom.ppf(0.025, n, 0.5))  # smallest k with P(X <= k) >= 2.5 %
    assert (low, high) == (rank - 1, n - rank)


def test_median_interval_covers_the_median_as_often_as_it_says():
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(2000):
        low, high = stats.median_interval(list(random.exponential(size=25))) or (0, 0)
        hits += low <= np.log(2) <= high
    assert 0.94 <= hits / 2000 <= 1.0


@pytest.mark.parametrize("n", range(6))
def test_no_interval_from_too_few_samples(n):
    assert stats.median_interval([1.0] * n) is None


@pytest.mark.parametrize("q", [0, 5, 50, 95, 100])
def test_percentile_is_that_of_numpy(q):
    values = list(np.random.default_rng(1).normal(size=37))
    assert stats.percentile(values, q) == pytest.approx(np.percentile(values, q))


def test_a_constant_sample_has_no_outliers():
    assert stats.outliers([2.0] * 10) == []


def test_the_interval_of_a_ratio_covers_it_as_often_as_it_says():
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(1000):
        before, after = (
            (middle * random.lognormal(sigma=0.2, size=30)).tolist() for middle in (1.0, 1.3)
        )
        low, high = stats.ratio_interval([before], [after]) or (0, 0)
        hits += low <= 1.3 <= high
    assert 0.94 <= hits / 1000 <= 0.99


def test_the_interval_of_a_ratio_covers_it_though_processes_differ():
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(500):
        before, after = (
            [
                (random.lognormal(sigma=0.1) * random.lognormal(sigma=0.02, size=20)).tolist()
                for _ in range(3)
            ]
            for _ in range(2)
        )
        low, high = stats.ratio_interval(before, after) or (0, 0)
        hits += low <= 1 <= high
    assert 0.94 <= hits / 500 <= 0.99


def test_quantiles_of_student_are_those_of_scipy():
    expected = scipy_stats.t.ppf(0.975, range(1, len(stats.STUDENT) + 1))
    found = stats.STUDENT
    assert found == pytest.approx(expected, abs=6e-4)


def test_a_ratio_has_no_interval_from_too_few_samples_or_from_none_above_zero():
    assert stats.ratio_interval([[1.0] * 10], [[1.0] * 5]) is None
    assert stats.ratio_interval([[1.0], [1.0]], [[1.0], [2.0]]) is None
    assert stats.ratio_interval([[1.0], [1.0], [1.0]], [[1.0], [2.0], [3.0]]) is not None
    assert stats.ratio_interval([[0.0] * 10], [[1.0] * 10]) is None
