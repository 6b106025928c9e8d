"""Subsets are nested, spread over the classes, and blind to the order of the list."""

import itertools
import random
from collections import Counter

import pytest

from vbench.accuracy.datasets import Video
from vbench.accuracy.subsets import SubsetSpec, choose, read_keys, sha256
from vbench.core.errors import UsageError


def listed(sizes):
    return [
        Video(key=f"{label}/{index}", path="", labels={"class": label})
        for label, size in enumerate(sizes)
        for index in range(size)
    ]


VIDEOS = listed([50] * 8 + [10] * 4)  # 440


def keys(videos):
    return {video.key for video in videos}


def test_a_larger_subset_holds_every_smaller_one():
    sizes = [1, 2, 7, 12, 40, 44, 100, 220, 439, 440]
    subsets = [keys(choose(VIDEOS, SubsetSpec(count=str(size)))) for size in sizes]
    assert [len(subset) for subset in subsets] == sizes
    assert all(a < b for a, b in itertools.pairwise(subsets))


def test_a_subset_takes_of_each_class_its_share():
    counts = Counter(video.labels["class"] for video in choose(VIDEOS, SubsetSpec(count="10%")))
    assert sum(counts.values()) == 44
    assert all(abs(counts[label] - 5) <= 1 for label in range(8))
    assert all(abs(counts[label] - 1) <= 1 for label in range(8, 12))


def test_the_order_of_the_list_changes_nothing():
    shuffled = random.Random(0).sample(VIDEOS, len(VIDEOS))
    for spec in (SubsetSpec(count="100"), SubsetSpec(per_class=3), SubsetSpec()):
        assert choose(shuffled, spec) == choose(VIDEOS, spec)


def test_another_seed_is_another_subset():
    first, second = (choose(VIDEOS, SubsetSpec(count="100", seed=seed)) for seed in (0, 1))
    assert keys(first) != keys(second)
    assert sha256(first) != sha256(second)


def test_a_missing_video_changes_no_other_of_its_class():
    chosen = choose(VIDEOS, SubsetSpec(per_class=5))
    without = choose([v for v in VIDEOS if v != chosen[0]], SubsetSpec(per_class=5))
    assert len(keys(without) - keys(chosen)) == 1
    assert keys(chosen) - keys(without) == {chosen[0].key}


def test_per_class_takes_as_many_of_each():
    counts = Counter(video.labels["class"] for video in choose(VIDEOS, SubsetSpec(per_class=12)))
    assert [counts[label] for label in range(12)] == [12] * 8 + [10] * 4


def test_a_file_names_the_videos_by_key_or_by_stem(tmp_path):
    path = tmp_path / "keys.txt"
    path.write_text("3/7\n0/1\n\n", encoding="utf-8")
    chosen = choose(VIDEOS, SubsetSpec(keys=read_keys(path)))
    assert [video.key for video in chosen] == ["3/7", "0/1"]
    films = [Video(key="a/film.mp4", path="", labels={"class": 0})]
    assert keys(choose(films, SubsetSpec(keys=("film",)))) == {"a/film.mp4"}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SubsetSpec(count="many"), "a number or a percentage, not: 'many'"),
        (SubsetSpec(count="0"), "at least one video"),
        (SubsetSpec(count="5", per_class=1), "not several"),
        (SubsetSpec(keys=("nowhere",)), "the first: nowhere"),
    ],
)
def test_what_is_no_subset_is_said(spec, message):
    with pytest.raises(UsageError, match=message):
        choose(VIDEOS, spec)


def test_the_hash_is_that_of_the_keys_alone():
    assert sha256(VIDEOS) == sha256(VIDEOS[::-1])
