import pytest

from tests.report.fabricate import GPU, record
from vbench.report.derive import add_derived
from vbench.report.frame import to_frame


def derived(metrics, peaks=None, **case):
    frame = add_derived(to_frame([record(num_frames=16, metrics=metrics, **case)]), peaks)
    return frame.dropna(subset="metric").set_index("metric")


def test_throughput_is_clips_over_the_median_latency_of_a_batch():
    frame = derived({"latency_s": [0.4, 0.5, 0.6]}, batch_size=8)
    assert frame.loc["throughput_clips_per_s", "median"] == pytest.approx(16.0)
    assert frame.loc["throughput_frames_per_s", "median"] == pytest.approx(256.0)
    assert frame.loc["throughput_clips_per_s", "unit"] == "clips/s"


def test_the_interval_of_throughput_turns_around():
    frame = derived({"latency_s": [1.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 4.0]})
    rate = frame.loc["throughput_clips_per_s"]
    assert rate["low"] < rate["median"] < rate["high"]
    assert (rate["low"], rate["high"]) == (0.25, 1.0)


def test_an_estimated_latency_gives_an_estimated_throughput_only():
    frame = derived({"estimated_latency_s": 0.5}, batch_size=4)
    assert frame.loc["estimated_throughput_clips_per_s", "median"] == 8.0
    assert set(frame["kind"]) == {"estimated"}
    assert "throughput_clips_per_s" not in frame.index


def test_memory_energy_and_macs_are_divided_by_the_batch():
    frame = derived({"peak_allocated_bytes": 80.0, "energy_j": [16.0], "macs": 24.0}, batch_size=8)
    assert frame.loc["peak_allocated_per_clip_bytes", "median"] == 10.0
    assert frame.loc["energy_per_clip_j", "median"] == 2.0
    assert frame.loc["macs_per_clip", "median"] == 3.0
    assert frame.loc["macs_per_clip", "kind"] == "counted"


def test_operations_a_second_are_two_a_mac_and_utilisation_their_share_of_the_peak():
    peaks = {(GPU, "bf16"): 8e12}
    frame = derived({"latency_s": 0.5, "macs": 1e12}, peaks, precision="bf16")
    assert frame.loc["achieved_flops_per_s", "median"] == pytest.approx(4e12)
    assert frame.loc["utilisation_percent", "median"] == pytest.approx(50.0)


def test_utilisation_is_left_out_where_the_peak_is_not_known():
    frame = derived({"latency_s": 0.5, "macs": 1e12}, {("another", "fp32"): 8e12})
    assert "utilisation_percent" not in frame.index


def test_the_estimate_is_held_against_what_was_measured():
    frame = derived({"peak_allocated_bytes": 200.0, "estimated_peak_bytes": 190.0})
    assert frame.loc["estimate_error_of_peak_allocated_percent", "median"] == pytest.approx(-5.0)


def test_an_unknown_batch_derives_nothing():
    frame = derived({"latency_s": 0.5, "macs": 2.0}, batch_size="auto")
    assert "macs_per_clip" not in frame.index
    assert "throughput_clips_per_s" not in frame.index


def test_deriving_twice_changes_nothing():
    once = add_derived(to_frame([record(metrics={"latency_s": 0.5, "macs": 2.0})]))
    assert add_derived(once) is once


def test_what_a_step_adds_to_resident_memory_is_measured_on_a_gpu_too():
    frame = derived({"peak_allocated_bytes": 90.0, "resident_allocated_bytes": 50.0}, batch_size=4)
    assert frame.loc["peak_allocated_growth_bytes", "median"] == 40.0
    assert frame.loc["peak_allocated_growth_per_clip_bytes", "median"] == 10.0
