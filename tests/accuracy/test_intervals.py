"""Intervals against scipy, against exact arithmetic and against simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from vbench.accuracy.intervals import (
    bootstrap,
    finite_population,
    ratio_mean,
    stratified,
    wilson,
)


@pytest.mark.parametrize(
    ("num_videos", "low", "high"),
    [(100, 0.711, 0.867), (400, 0.758, 0.836), (5000, 0.789, 0.811), (19787, 0.794, 0.806)],
)
def test_wilson_gives_the_textbook_interval_at_eighty_percent(num_videos, low, high):
    interval = wilson(round(0.8 * num_videos), num_videos)
    assert (round(interval.low, 3), round(interval.high, 3)) == (low, high)


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (10, 10), (1, 1), (0, 1), (37, 50)])
def test_wilson_is_its_closed_form_and_stays_inside(correct, total):
    z = stats.norm.ppf(0.975)
    p = correct / total
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    reach = z / (1 + z * z / total) * math.sqrt(p * (1 - p) / total + z * z / (4 * total**2))
    interval = wilson(correct, total)
    assert interval.low == pytest.approx(max(middle - reach, 0), abs=1e-12)
    assert interval.high == pytest.approx(min(middle + reach, 1), abs=1e-12)
    assert 0 <= interval.low <= p <= interval.high <= 1


def test_wilson_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    draws = generator.binomial(200, 0.8, size=2000)
    found = {k: wilson(int(k), 200) for k in set(draws.tolist())}
    covered = np.mean([found[int(k)].low <= 0.8 <= found[int(k)].high for k in draws])
    assert 0.935 <= covered <= 0.965


def test_a_finite_list_narrows_the_interval_to_a_point():
    whole = wilson(4000, 5000)
    part = finite_population(whole, num_videos=5000, num_listed=19787)
    assert 100 * part.half_width == pytest.approx(0.96, abs=0.01)
    assert finite_population(whole, num_videos=5000, num_listed=5000).half_width == 0


def test_a_finite_list_interval_covers_the_score_of_the_list():
    generator = np.random.default_rng(1)
    listed = generator.random(1000) < 0.7
    truth = listed.mean()
    covered = []
    for _ in range(1000):
        drawn = generator.choice(listed, 500, replace=False)
        interval = finite_population(wilson(int(drawn.sum()), 500), num_videos=500, num_listed=1000)
        covered.append(interval.low <= truth <= interval.high)
    assert 0.93 <= np.mean(covered) <= 0.97


def test_bootstrap_of_a_mean_agrees_with_scipy():
    values = np.random.default_rng(2).gamma(2.0, size=300)
    ours = bootstrap(values, np.ones(300), num_resamples=5000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=5000, method="percentile", rng=3
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)


def test_bootstrap_is_the_same_each_time():
    values = np.arange(50.0)
    assert bootstrap(values, np.ones(50)) == bootstrap(values, np.ones(50))
    assert bootstrap(values, np.ones(50), seed=1) != bootstrap(values, np.ones(50))


def test_segments_of_a_video_count_as_one_draw():
    right = np.repeat(np.random.default_rng(4).random(40) < 0.5, 25).astype(float)
    groups = [f"video{i // 25}" for i in range(1000)]
    alone = bootstrap(right, np.ones(1000))
    together = bootstrap(right, np.ones(1000), groups=groups)
    assert together.half_width > 4 * alone.half_width
    assert together.method == "bootstrap over 40 groups"


def test_clustered_bootstrap_covers_the_truth_where_the_plain_one_does_not():
    generator = np.random.default_rng(5)
    covered = {"plain": 0, "clustered": 0}
    for trial in range(150):
        skill = generator.beta(3, 1, size=60)  # mean 0.75
        right = (generator.random((60, 20)) < skill[:, None]).astype(float).reshape(-1)
        groups = [str(i // 20) for i in range(1200)]
        for name, clusters in (("plain", None), ("clustered", groups)):
            interval = bootstrap(
                right, np.ones(1200), groups=clusters, num_resamples=300, seed=trial
            )
            covered[name] += interval.low <= 0.75 <= interval.high
    assert covered["clustered"] / 150 > 0.88
    assert covered["plain"] / 150 < 0.75


def test_stratified_resampling_keeps_each_class_whole():
    members = np.zeros((30, 3))
    members[np.arange(30), np.arange(30) % 3] = 1
    right = members * np.array([1.0, 0.0, 1.0])
    interval = bootstrap(right, members, strata=[i % 3 for i in range(30)])
    assert interval.low == interval.high == pytest.approx(2 / 3)
    assert ratio_mean(right, members) == pytest.approx(2 / 3)


def draw(generator, shares, listed, per_class):
    """A list with these shares right in each class, and a subset drawn class by class."""
    right, strata = [], []
    for name, (share, count) in enumerate(zip(shares, listed, strict=True)):
        answers = np.arange(count) < round(share * count)
        right += generator.choice(answers, size=per_class[name], replace=False).tolist()
        strata += [name] * per_class[name]
    return right, strata


def test_the_stratified_interval_is_that_of_the_textbook_standard_error():
    right = [1, 1, 0, 1, 0, 0, 1, 1, 0]
    strata = [0] * 4 + [1] * 3 + [2] * 2
    listed = {0: 40, 1: 30, 2: 10}
    variance = (
        (40 / 80) ** 2 * 0.75 * 0.25 / 3 * (1 - 4 / 40)
        + (30 / 80) ** 2 * (1 / 3) * (2 / 3) / 2 * (1 - 3 / 30)
        + (10 / 80) ** 2 * 0.5 * 0.5 / 1 * (1 - 2 / 10)
    )
    share = 0.5 * 0.75 + 0.375 / 3 + 0.125 * 0.5
    effective = share * (1 - share) / variance
    found = stratified(right, strata, listed)
    z = stats.norm.ppf(0.975)
    assert found.low + found.high == pytest.approx(
        2 * (share + z * z / (2 * effective)) / (1 + z * z / effective)
    )
    # At either end the share lies z standard errors away, as Wilson's interval is made.
    for end in (found.low, found.high):
        assert abs(end - share) == pytest.approx(z * math.sqrt(end * (1 - end) / effective))


def test_the_stratified_interval_covers_the_score_on_the_list():
    generator = np.random.default_rng(0)
    shares = generator.choice([0.2, 0.5, 0.9, 0.95], size=40)
    listed = generator.integers(30, 60, size=40)
    truth = sum(round(p * n) for p, n in zip(shares, listed, strict=True)) / listed.sum()
    numbers = {name: int(n) for name, n in enumerate(listed)}
    for per_class in ([5] * 40, [1] * 40, [max(int(n) // 6, 1) for n in listed]):
        found = []
        for _ in range(150):
            right, strata = draw(generator, shares, listed, per_class)
            found.append(stratified(right, strata, numbers))
        covered = np.mean([one.low <= truth <= one.high for one in found])
        assert 0.9 <= covered <= 0.995, per_class[:3]


def test_drawing_class_by_class_is_narrower_than_wilson_and_weighs_classes():
    right, strata = [1] * 10 + [0] * 9 + [1], [0] * 10 + [1] * 10
    narrow = stratified(right, strata, {0: 1000, 1: 1000})
    assert narrow.half_width < 0.7 * wilson(11, 20).half_width
    shifted = stratified(right, strata, {0: 1900, 1: 100})
    assert shifted.low > 0.7


@pytest.mark.parametrize(("right", "low", "high"), [([1] * 6, 0.6, 1.0), ([0] * 6, 0.0, 0.4)])
def test_all_right_or_all_wrong_is_not_certain(right, low, high):
    found = stratified(right, [0, 0, 0, 1, 1, 1], {0: 500, 1: 500})
    assert found.high - found.low > 0.3
    assert found.low <= high
    assert found.high >= low


def test_all_videos_of_the_list_leave_nothing_open():
    found = stratified([1, 0, 1, 0], [0, 0, 1, 1], {0: 2, 1: 2})
    assert found.low == pytest.approx(0.5)
    assert found.high == pytest.approx(0.5)
