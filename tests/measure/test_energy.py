"""Energy windows, against a meter the test owns."""

import time

import pytest

from tests.measure.fakes import FakeMeter
from vbench.measure.energy import Trace, Window, idle_power_w, measure_window
from vbench.measure.probes.energy import summarize


def window(meter, *, duration_s=0.25):
    return measure_window(
        lambda: time.sleep(0.01), lambda: None, meter, clock=time.monotonic, duration_s=duration_s
    )


def test_counter_and_integrated_power_agree_on_a_constant_load():
    taken = window(FakeMeter(time.monotonic))
    assert taken.counter_j == pytest.approx(300 * taken.duration_s, rel=1e-2)
    assert taken.integral_j == pytest.approx(taken.counter_j, rel=0.35)  # ends of the window
    assert taken.num_steps > 5


def test_without_a_counter_the_integral_is_the_energy():
    taken = window(FakeMeter(time.monotonic, has_counter=False))
    assert taken.counter_j is None
    assert taken.energy_j == taken.integral_j


def test_without_any_reading_there_is_no_energy_rather_than_zero():
    taken = window(FakeMeter(time.monotonic, power_w=None))
    samples = summarize([taken], idle_w=None)
    assert "energy_j" not in samples.values
    assert "neither" in samples.notes["energy"]


def a_window(**fields):
    known = {"num_steps": 10, "duration_s": 2.0, "counter_j": 600.0, "integral_j": 590.0}
    return Window(**known | {"trace": Trace()} | fields)


def test_idle_power_is_subtracted_over_the_same_time():
    samples = summarize([a_window()], idle_w=100.0)
    assert samples.values["energy_j"] == [60.0]
    assert samples.values["energy_above_idle_j"] == [40.0]
    assert samples.values["gpu_power_w"] == [300.0]


def test_a_counter_that_disagrees_with_power_is_said():
    samples = summarize([a_window(integral_j=300.0)], idle_w=None)
    assert "more than 10 %" in samples.notes["energy check"]


def test_lowered_clocks_are_said_with_their_share_of_time():
    trace = Trace(reasons=[["power cap"], ["power cap"], [], []])
    samples = summarize([a_window(trace=trace)], idle_w=None)
    assert samples.notes["clocks lowered"] == "power cap 50% of the time"


def test_idle_power_is_a_mean_and_absent_without_readings():
    meter = FakeMeter(time.monotonic, power_w=80.0)
    assert idle_power_w(meter, sleep=lambda _: None) == pytest.approx(80.0)
    assert idle_power_w(FakeMeter(time.monotonic, power_w=None), sleep=lambda _: None) is None
