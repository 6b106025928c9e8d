"""The timing loop, against a device and a clock the test owns."""

import pytest

from tests.measure.fakes import FakeClock, FakeDevice
from vbench.core.types import TimingSpec
from vbench.measure.timing import MAX_QUEUED_S, time_calls

QUICK = TimingSpec(warmup_iters=1, max_warmup_iters=1, min_iters=10, min_duration_s=0.0)


def timed(work_s, timing=QUICK):
    clock = FakeClock()
    device = FakeDevice(clock, work_s)
    return time_calls(device.call, device, timing, clock), device


def test_samples_are_device_time_and_steady_ones_stop_at_the_interval():
    result, _ = timed(lambda _: 0.25)
    assert result.latencies_s == pytest.approx([0.25] * 10)
    assert result.stopped == "median known within 1 %"


def test_the_device_is_idle_before_the_first_sample_and_after_the_last():
    _, device = timed(lambda _: 0.25)
    first_mark = device.calls.index("mark")
    assert device.calls[first_mark - 1] == "synchronize"
    assert device.calls[-1] == "synchronize"


def test_nothing_happens_between_the_marks_of_a_sample_but_the_call():
    _, device = timed(lambda _: 0.25)
    marks = [i for i, call in enumerate(device.calls) if call == "mark"]
    starts, ends = marks[::2], marks[1::2]
    assert all(device.calls[a + 1 : b] == ["call"] for a, b in zip(starts, ends, strict=True))


def test_short_steps_are_queued_ahead_but_never_far():
    _, device = timed(lambda _: 0.001)
    queued, longest = 0, 0
    for call in device.calls:
        queued = 0 if call == "synchronize" else queued + (call == "call")
        longest = max(longest, queued)
    assert 1 < longest <= MAX_QUEUED_S / 0.001


def test_the_maximum_duration_wins_over_the_least_number_of_samples():
    timing = TimingSpec(warmup_iters=1, max_warmup_iters=1, min_iters=1000, max_duration_s=1.0)
    result, _ = timed(lambda _: 0.5, timing)
    assert len(result.latencies_s) == 2
    assert "longest time allowed" in result.stopped


def test_noise_that_no_longer_falls_stops_the_loop():
    values = [0.010, 0.020]
    timing = TimingSpec(
        warmup_iters=1,
        max_warmup_iters=1,
        min_duration_s=0.0,
        max_duration_s=1e9,
        half_width_percent=0.001,
    )
    result, _ = timed(lambda i: values[(i * 7919) % 13 % 2], timing)
    assert result.stopped == "more samples no longer lower the noise"
    assert len(result.latencies_s) >= 128


def test_warm_up_goes_on_until_two_windows_agree():
    timing = TimingSpec(warmup_iters=3, min_iters=1, min_duration_s=0.0)
    result, _ = timed(lambda i: max(0.1, 1.0 - 0.05 * i), timing)  # settled from the 18th on
    assert 25 <= result.warmup_iters <= 30


def test_warm_up_ends_at_its_cap_on_a_machine_that_never_settles():
    timing = TimingSpec(warmup_iters=3, max_warmup_iters=17, min_iters=1, min_duration_s=0.0)
    result, _ = timed(lambda i: 0.1 * 1.1**i, timing)
    assert result.warmup_iters == 17


def test_host_time_until_the_call_returns_is_kept_apart():
    result, _ = timed(lambda _: 0.25)
    assert result.enqueue_s == [0.0] * len(result.latencies_s)
