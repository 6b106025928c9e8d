import numpy as np
import pytest
from scipy import stats as scipy_stats
from scipy.optimize import curve_fit

from vbench.report.scaling import crossover, fit_power_law, student_95

FRAMES = (8, 16, 24, 32, 48, 64)


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.5, 2.0, 3.0])
@pytest.mark.parametrize("constant", [0.0, 40.0, 5000.0])
def test_the_law_of_exact_points_is_recovered(exponent, constant):
    law = fit_power_law(FRAMES, [constant + 3.0 * x**exponent for x in FRAMES], offset=None)
    assert law is not None
    assert law.exponent == pytest.approx(exponent, abs=1e-4)
    assert law.offset == pytest.approx(constant, abs=1e-2 * (1 + constant))
    assert law.factor == pytest.approx(3.0, rel=1e-2)
    assert law.has_free_offset


def test_noise_widens_the_interval_and_it_holds_the_truth():
    noise = np.random.default_rng(3).normal(1, 0.03, len(FRAMES))
    law = fit_power_law(FRAMES, [n * x**1.7 for x, n in zip(FRAMES, noise, strict=True)])
    assert law is not None
    assert law.low is not None
    assert law.high is not None
    assert law.low < 1.7 < law.high
    assert 0.02 < law.high - law.low < 0.3


def test_the_fit_agrees_with_scipy():
    noise = np.random.default_rng(5).normal(1, 0.02, len(FRAMES))
    y = [n * (500 + 2.0 * x**1.8) for x, n in zip(FRAMES, noise, strict=True)]
    (_, _, exponent), covariance = curve_fit(
        lambda x, a, b, p: a + b * x**p, FRAMES, y, p0=(400, 2, 1.7), sigma=y, maxfev=20000
    )
    law = fit_power_law(FRAMES, y, offset=None)
    assert law is not None
    # scipy weighs by y, as ours does; both linearise differently around the same optimum
    assert law.exponent == pytest.approx(exponent, abs=1e-3)
    assert law.low is not None
    assert law.high is not None
    width = 2 * student_95(3) * covariance[2, 2] ** 0.5
    assert law.high - law.low == pytest.approx(width, rel=0.5)


def test_three_points_have_no_constant_and_two_no_law():
    law = fit_power_law((8, 16, 32), [1.0, 2.0, 4.0], offset=None)
    assert law is not None
    assert not law.has_free_offset
    assert law.exponent == pytest.approx(1.0, abs=1e-6)
    assert fit_power_law((8, 16), [1.0, 2.0]) is None
    assert fit_power_law((8, 16, 32), [1.0, 0.0, 4.0]) is None


def test_a_bend_shows_as_misfit():
    law = fit_power_law((8, 16, 32, 64), [1.0, 1.0, 8.0, 64.0])
    assert law is not None
    assert law.worst_percent > 10


@pytest.mark.parametrize("freedom", [1, 2, 5, 10, 11, 20, 100])
def test_students_quantiles_are_right(freedom):
    assert student_95(freedom) == pytest.approx(scipy_stats.t.ppf(0.975, freedom), rel=2e-4)


def test_the_crossing_is_interpolated_and_the_last_one_counts():
    assert crossover([8, 16, 32], [0.5, 0.5, 2.0]) == pytest.approx(16 * 2**0.5)
    assert crossover([8, 16, 32, 64], [2.0, 0.5, 2.0, 4.0]) == pytest.approx(16 * 2**0.5)
    assert crossover([8, 16], [2.0, 4.0]) is None
    assert crossover([8, 16], [0.5, 1.0]) == pytest.approx(16)
