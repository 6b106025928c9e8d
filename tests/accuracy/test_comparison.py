"""Tests of two models, and of a model against a published number."""

import numpy as np
import pytest
from scipy import stats

from vbench.accuracy.comparison import detectable_difference, equivalence, holm, mcnemar, paired


def test_mcnemar_is_the_binomial_test_of_the_disagreements():
    p_value, mid_p_value, test = mcnemar(5, 15)
    exact = 2 * stats.binom.cdf(5, 20, 0.5)
    assert p_value == pytest.approx(exact)
    assert mid_p_value == pytest.approx(exact - stats.binom.pmf(5, 20, 0.5))
    assert test == "McNemar exact"


def test_mcnemar_of_no_disagreement_or_an_even_one_finds_nothing():
    assert mcnemar(0, 0) == (1.0, 1.0, "McNemar exact")
    assert mcnemar(7, 7)[0] == pytest.approx(1.0)


def test_mcnemar_of_many_disagreements_is_near_the_exact_one():
    approximate, _, test = mcnemar(480, 560)
    assert test == "McNemar with continuity correction"
    assert approximate == pytest.approx(stats.binomtest(480, 1040).pvalue, rel=0.02)


def test_paired_difference_counts_and_covers():
    generator = np.random.default_rng(0)
    first = generator.random(2000) < 0.70
    second = first ^ (generator.random(2000) < 0.10)
    result = paired(first, second)
    assert result.only_first == int(np.sum(first & ~second))
    assert result.only_second == int(np.sum(~first & second))
    assert result.difference == pytest.approx(second.mean() - first.mean())
    assert result.interval.low < result.difference < result.interval.high
    shares = np.array([result.only_first, result.only_second]) / 2000
    error = np.sqrt((shares.sum() - (shares[1] - shares[0]) ** 2) / 2000)
    assert result.interval.half_width == pytest.approx(1.96 * error, rel=0.08)


def test_pairing_finds_what_two_separate_intervals_would_miss():
    first = np.arange(1000) < 800
    second = np.arange(1000) < 815
    result = paired(first, second)
    assert result.p_value < 0.001
    assert result.interval.low > 0


def test_models_on_different_numbers_of_videos_are_refused():
    with pytest.raises(ValueError, match="got 3 and 2"):
        paired(np.ones(3, dtype=bool), np.ones(2, dtype=bool))


@pytest.mark.parametrize(
    ("num_videos", "share", "points"), [(1000, 0.1, 2.8), (5000, 0.1, 1.25), (400, 0.2, 6.3)]
)
def test_detectable_difference_is_the_known_one(num_videos, share, points):
    assert 100 * detectable_difference(num_videos, share) == pytest.approx(points, abs=0.05)


def test_the_detectable_difference_is_detected_four_times_in_five():
    generator = np.random.default_rng(1)
    n, share = 1000, 0.1
    difference = detectable_difference(n, share)
    outcomes = generator.multinomial(
        n, [(share - difference) / 2, (share + difference) / 2, 1 - share], size=1000
    )
    z = (outcomes[:, 1] - outcomes[:, 0]) / np.sqrt(outcomes[:, 0] + outcomes[:, 1])
    assert 0.75 < np.mean(z > 1.96) < 0.86


@pytest.mark.parametrize(
    ("accuracy", "num_videos", "verdict"),
    [
        (0.809, 19787, "undecided"),
        (0.8101, 400_000, "consistent with published"),
        (0.75, 2000, "differs from published"),
        (0.80, 100, "undecided"),
    ],
)
def test_verdict_against_a_published_number(accuracy, num_videos, verdict):
    result = equivalence(
        accuracy=accuracy, num_videos=num_videos, published=0.81, num_published=400_000
    )
    assert result.verdict == verdict
    assert result.interval.low < result.difference < result.interval.high


def test_a_wide_margin_is_met_by_fewer_videos():
    wide = equivalence(
        accuracy=0.809, num_videos=19787, published=0.81, num_published=19787, margin=0.01
    )
    assert wide.verdict == "consistent with published"


def test_holm_keeps_order_and_never_exceeds_one():
    assert holm([0.02, 0.5, 0.9]) == pytest.approx([0.06, 1.0, 1.0])
