"""Accuracies of records whose answer can be counted by hand."""

import msgspec
import numpy as np
import pytest

from tests.accuracy.fabricate import action, failure, video
from vbench.accuracy.label_order import check_order
from vbench.accuracy.metrics import Listed, num_fragile, scores
from vbench.accuracy.types import SCHEMA_VERSION, VideoRecord

RECORDS = [
    video("a", 0, 0, 1, 2, slices=("left",)),
    video("b", 0, 1, 0, 2),
    video("c", 1, 1, 0, 2, slices=("left",)),
    video("d", 2, 0, 1, 3, slices=("left",)),
]


def by_name(records, **options):
    found = scores(records, **options)
    return {(score.head, score.metric, score.videos): score for score in found}


def test_top1_top5_mean_class_and_slices_are_counted_right():
    found = by_name(RECORDS)
    assert found["class", "top1", "decoded"].value == 0.5
    assert found["class", "top5", "decoded"].value == 0.75
    assert found["class", "mean_class", "decoded"].value == pytest.approx((0.5 + 1 + 0) / 3)
    assert found["class", "top1", "left"].value == pytest.approx(2 / 3)
    assert found["class", "top1", "left"].num_videos == 3
    assert found["class", "top1", "decoded"].baseline == 0.5


def test_failures_shrink_no_denominator_in_silence():
    found = by_name([*RECORDS, failure("e", 1)])
    assert found["class", "top1", "decoded"].num_videos == 4
    assert found["class", "top1", "failures as errors"].value == pytest.approx(2 / 5)


def test_an_action_is_right_when_verb_and_noun_are():
    records = [action("a", 1, 2, 1, 2), action("b", 1, 2, 1, 3), action("c", 0, 2, 1, 2)]
    found = by_name(records)
    assert found["action", "top1", "decoded"].value == pytest.approx(1 / 3)
    assert found["verb", "top1", "decoded"].value == pytest.approx(2 / 3)
    assert found["noun", "top1", "decoded"].value == pytest.approx(2 / 3)


def test_segments_of_one_video_get_a_clustered_interval():
    records = [action(f"{v}-{i}", 1, 2, 1, 2 + v % 2, group=str(v)) for v in range(4)
               for i in range(5)]  # fmt: skip
    interval = by_name(records)["action", "top1", "decoded"].interval
    assert interval.method == "bootstrap over 4 groups"


def test_a_subset_has_an_interval_for_its_list_too():
    score = by_name(RECORDS, listed=Listed(num_videos=8))["class", "top1", "decoded"]
    assert score.list_interval is not None
    assert score.list_interval.half_width < score.interval.half_width
    whole = by_name(RECORDS, listed=Listed(num_videos=4))["class", "top1", "decoded"]
    assert whole.list_interval is None


def test_a_subset_drawn_class_by_class_is_weighed_by_the_classes_of_its_list():
    records = [video(f"a{i}", 0, 0) for i in range(5)] + [video(f"b{i}", 1, 0) for i in range(5)]
    records += [video("a", 0, 1), video("b", 1, 1)]
    many, few = (
        by_name(records, listed=Listed(num_videos=100, by_class=counts))["class", "top1", "decoded"]
        for counts in ((90, 10), (10, 90))
    )
    assert many.value == few.value == 0.5
    assert many.list_interval is not None
    assert few.list_interval is not None
    assert many.list_interval.method == "Wilson, stratified"
    middles = [one.list_interval.low + one.list_interval.high for one in (many, few)]
    assert middles[0] > 1.3
    assert middles[1] < 0.7


def test_one_view_is_scored_beside_the_average_of_views():
    records = [video("a", 0, 0, 1, views=(1, 0, 1)), video("b", 1, 1, 0, views=(1, 0, 1))]
    found = by_name(records, middle_view=1)
    assert found["class", "top1", "decoded"].value == 1.0
    assert found["class", "top1_one_view", "decoded"].value == 0.5


def test_squared_error_stands_beside_that_of_the_mean():
    records = [
        VideoRecord(
            schema_version=SCHEMA_VERSION, key=str(i), status="ok", target=float(i), value=i + 0.5
        )
        for i in range(4)
    ]
    (score,) = scores(records)
    assert (score.metric, score.value, score.baseline) == ("mse", 0.25, 1.25)


def test_near_ties_are_counted():
    assert num_fragile([*RECORDS, video("f", 0, 0, 1, margin=1e-5)]) == 1


def test_nothing_decoded_gives_no_score():
    assert scores([failure("a", 0)]) == []


def test_a_record_survives_its_json():
    encoded = msgspec.json.encode(RECORDS[0])
    assert msgspec.json.decode(encoded, type=VideoRecord) == RECORDS[0]


def test_permuted_classes_are_noticed():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(50), 8)
    good = np.where(generator.random(400) < 0.8, labels, generator.integers(0, 50, 400))
    permuted = generator.permutation(50)[good]
    assert check_order(labels, permuted, num_classes=50).is_suspect
    assert not check_order(labels, good, num_classes=50).is_suspect


@pytest.mark.parametrize("videos_per_class", [1, 2, 8])
def test_a_model_at_chance_is_not_taken_for_a_permuted_one(videos_per_class):
    generator = np.random.default_rng(1)
    labels = np.repeat(np.arange(50), videos_per_class)
    for predictions in (generator.integers(0, 50, len(labels)), np.full(len(labels), 7)):
        assert not check_order(labels, predictions, num_classes=50).is_suspect
