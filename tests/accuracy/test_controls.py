"""Clips with their time taken away, and what a model scores then."""

import numpy as np
import pytest
import torch
from scipy import stats

from vbench.accuracy import controls, temporal
from vbench.accuracy.scoring import score_heads
from vbench.accuracy.types import HeadScore, VideoRecord
from vbench.accuracy.worker import by_head

REVERSALS = {"verb": (1, 0, 2, -1)}


def views():
    return torch.arange(2 * 3 * 5, dtype=torch.float32).reshape(2, 3, 5, 1, 1)


def test_shuffled_frames_are_the_same_ones_in_an_order_of_the_video_alone():
    shuffled = controls.controlled(views(), controls.SHUFFLED, "a")
    again = controls.controlled(views(), controls.SHUFFLED, "a")
    other = controls.controlled(views(), controls.SHUFFLED, "b")
    assert torch.equal(shuffled, again)
    assert not torch.equal(shuffled, other)
    assert torch.equal(shuffled.sort(dim=2).values, views())
    assert not torch.equal(shuffled[0, 0].argsort(0), shuffled[1, 0].argsort(0))


def test_reversed_and_static_clips_are_what_they_are_called():
    assert torch.equal(controls.controlled(views(), controls.REVERSED, "a"), views().flip(2))
    static = controls.controlled(views(), controls.STATIC, "a")
    assert static.shape == views().shape
    assert torch.equal(static, views()[:, :, 2:3].expand_as(static))


def test_a_reversed_clip_has_the_reversed_label_where_there_is_one():
    for label, expected in ((0, 1), (1, 0), (2, 2), (3, 3)):
        labels = {"verb": label, "noun": 3}
        found = controls.expected_labels(labels, REVERSALS, controls.REVERSED)
        assert found == {"verb": expected, "noun": 3}
        assert controls.expected_labels(labels, REVERSALS, controls.SHUFFLED) == labels


def scored(label, logits):
    outputs = {"verb": np.array([logits], dtype=np.float64)}
    return score_heads(
        outputs, {"verb": range(4)}, {"verb": label}, "probability_mean", reversals=REVERSALS
    )


def record(key, label, logits, **controlled):
    return VideoRecord(
        schema_version=1,
        key=key,
        status="ok",
        labels={"verb": label},
        heads=scored(label, logits),
        controls={name: scored(label, values) for name, values in controlled.items()},
    )


def test_only_classes_that_turn_into_others_have_a_direction():
    kept = [scored(label, [1, 2, 3, 4])["verb"].reversal_probability for label in range(4)]
    assert kept[0] > kept[1] > 0
    assert kept[2:] == [None, None]


def test_direction_is_the_share_whose_class_beats_its_reversal_tested_against_one_half():
    records = [record(f"v{i}", i % 2, [2, 1, 9, 0]) for i in range(20)]
    records += [record("still", 2, [0, 0, 9, 0])]
    found = {s.metric: s for s in temporal.scores(records, REVERSALS)}
    assert found["direction"].value == 0.5
    assert found["direction"].num_videos == 20
    assert found["direction"].baseline == 0.5
    assert found["direction"].p_value == 1.0
    assert found["pair"].value == 0.0
    right = [record(f"v{i}", 0, [2, 1, 0, 0]) for i in range(12)]
    found = {s.metric: s for s in temporal.scores(right, REVERSALS)}
    assert found["direction"].p_value == stats.binomtest(12, 12, 0.5).pvalue
    assert found["pair"].value == 1.0


def test_a_score_under_a_control_says_so():
    records = [record(f"v{i}", 0, [2, 1, 0, 0], shuffled=[1, 2, 0, 0]) for i in range(4)]
    found = {(s.metric, s.condition): s.value for s in temporal.scores(records, REVERSALS)}
    assert found[("direction", "")] == 1.0
    assert found[("direction", "shuffled")] == 0.0
    assert found[("top1", "shuffled")] == 0.0


def test_videos_that_could_not_be_read_have_no_part_in_the_direction():
    broken = VideoRecord(schema_version=1, key="x", status="unreadable", labels={"verb": 0})
    records = [record("v", 0, [2, 1, 0, 0], shuffled=[1, 2, 0, 0]), broken]
    assert {s.num_videos for s in temporal.scores(records, REVERSALS)} == {1}
    assert temporal.scores([broken], REVERSALS) == []


def test_one_vector_holds_the_classes_of_all_heads_one_after_another():
    output = torch.arange(6.0).reshape(1, 6)
    split = by_head(output, {"verb": 4, "noun": 2})
    assert split["verb"].tolist() == [[0, 1, 2, 3]]
    assert split["noun"].tolist() == [[4, 5]]
    assert by_head({"verb": output}, {"verb": 6})["verb"] is output


def test_a_model_blind_to_order_tells_a_clip_from_its_reversal_as_often_as_not():
    torch.manual_seed(0)
    weights = torch.randn(3, 4)
    records = []
    for index in range(40):
        clip = torch.randn(1, 3, 8, 2, 2)
        label = index % 2
        heads = {}
        for name, seen in (("", clip), ("reversed", controls.controlled(clip, "reversed", "k"))):
            logits = (seen.mean(dim=(2, 3, 4)) @ weights)[0].tolist()
            expected = controls.expected_labels({"verb": label}, REVERSALS, name)["verb"]
            heads[name] = scored(expected, logits)
        own: dict[str, HeadScore] = heads.pop("")
        records.append(
            VideoRecord(
                schema_version=1, key=f"v{index}", status="ok", labels={"verb": label},
                heads=own, controls=heads,
            )
        )  # fmt: skip
    found = {s.condition: s.value for s in temporal.scores(records, REVERSALS)
             if s.metric == "direction"}  # fmt: skip
    assert found[""] + found["reversed"] == pytest.approx(1)
