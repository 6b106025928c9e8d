import math

import pytest

from tests.report.fabricate import figure1_records, record
from vbench.report.derive import add_derived
from vbench.report.frame import to_frame
from vbench.report.ratios import attribution, crossing, ratios


def frame_of(records):
    return add_derived(to_frame(records))


def test_costs_are_compared_with_the_first_model_at_equal_settings():
    records = [
        record(m, t, {"peak_allocated_bytes": b * t})
        for m, b in (("a", 2), ("b", 6))
        for t in (8, 16)
    ]
    (found,) = ratios(frame_of(records), "memory")
    assert (found.curve.line.model, found.reference.line.model) == ("b", "a")
    assert found.by_frames == {8: 3.0, 16: 3.0}


def test_different_batches_and_kinds_are_never_compared():
    records = [
        record("a", metrics={"peak_allocated_bytes": 1.0}, batch_size=1),
        record("b", metrics={"peak_allocated_bytes": 1.0}, batch_size=2),
        record("c", metrics={"estimated_peak_bytes": 1.0}, batch_size=1),
    ]
    assert ratios(frame_of(records), "memory") == []


def test_time_is_compared_by_the_clip():
    records = [record(m, metrics={"latency_s": s}) for m, s in (("a", 0.5), ("b", 2.0))]
    (found,) = ratios(frame_of(records), "time")
    assert found.by_frames[8] == pytest.approx(4.0)


def test_the_published_memory_ratio_comes_apart_into_factors_that_multiply_back():
    found = attribution(frame_of(figure1_records()), "activations")
    assert found is not None
    assert (found.num_frames, found.kind) == (64, "estimated")
    assert found.total == pytest.approx(4533 / 112)
    assert found.corners["joint", "fused"] == pytest.approx(50.4 / 112)
    for steps in found.paths.values():
        assert math.prod(step.multiplier for step in steps) == pytest.approx(found.total)
    scheme_first, kernel_first = found.paths.values()
    assert scheme_first[-1].multiplier == pytest.approx(4533 / 50.4)
    assert kernel_first[1].multiplier == pytest.approx(134 / 78)


def test_another_precision_becomes_the_last_step():
    plain = [
        record(
            one.case.model,
            one.case.clip.num_frames,
            {metric: one.values(metric)[0] * factor for metric in ["estimated_activation_bytes"]},
            batch_size=128,
            attention=one.case.attention,
            device="meta",
            gpu=one.case.gpu,
        )
        for one in figure1_records()
        for factor in [1.0 if one.case.attention == "eager" else 2.0]
    ]
    found = attribution(frame_of([*plain, *figure1_records()]), "activations")
    assert found is not None
    for steps in found.paths.values():
        assert steps[-1].change == "fp32 -> bf16 autocast"
        assert steps[-1].multiplier == pytest.approx(2.0)
        assert math.prod(step.multiplier for step in steps) == pytest.approx(found.total)


def test_a_missing_corner_leaves_the_ratio_whole():
    records = [r for r in figure1_records() if r.case.attention != "eager"]
    assert attribution(frame_of(records), "activations") is None


def test_fewer_frames_are_said():
    found = attribution(frame_of(figure1_records(frames=(8, 16))), "time")
    assert found is not None
    assert found.num_frames == 16


def test_a_crossing_has_the_interval_that_the_curves_allow():
    spread = [1 + 0.02 * (i - 4.5) / 4.5 for i in range(10)]
    records = [
        record(model, t, {"latency_s": [cost(t) * s for s in spread]})
        for model, cost in (("linear", lambda t: t), ("square", lambda t: t * t / 20))
        for t in (8, 16, 32)
    ]
    (found,) = ratios(frame_of(records), "time")
    at = crossing(found.curve, found.reference)
    assert at is not None
    assert at.num_frames == pytest.approx(20.0)
    assert at.low is not None
    assert at.high is not None
    assert 19.0 < at.low < 20.0 < at.high < 21.0
