"""NVML readings, against a fake library."""

from types import SimpleNamespace

import pynvml
import pytest

from vbench.measure import nvml

UUID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def driver(monkeypatch):
    """A driver with one GPU whose readings a test may replace."""
    fakes = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetHandleByUUID": lambda uuid: uuid,
        "nvmlDeviceGetTotalEnergyConsumption": lambda _: 12_345,
        "nvmlDeviceGetPowerUsage": lambda _: 250_000,
        "nvmlDeviceGetMemoryInfo": lambda _, version: SimpleNamespace(used=7 << 30),
        "nvmlDeviceGetClockInfo": lambda _, kind: 1980,
        "nvmlDeviceGetComputeRunningProcesses": lambda _: [
            SimpleNamespace(pid=1),
            SimpleNamespace(pid=1),
        ],
        "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _: (
            pynvml.nvmlClocksThrottleReasonSwPowerCap
            | pynvml.nvmlClocksThrottleReasonSwThermalSlowdown
        ),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(pynvml, name, fake)
    return monkeypatch


def test_readings_are_in_base_units(driver):
    with nvml.opened(UUID) as gpu:
        assert gpu is not None
        assert gpu.energy_j() == 12.345
        assert gpu.power_w() == 250.0
        assert gpu.sm_clock_hz() == 1.98e9
        assert gpu.used_bytes() == 7 << 30
        assert gpu.throttle_reasons() == ["software thermal slowdown", "power cap"]
        assert gpu.num_foreign_processes() == 1


def test_the_gpu_is_found_by_uuid_whatever_its_index(driver):
    asked: list[str] = []
    driver.setattr(pynvml, "nvmlDeviceGetHandleByUUID", asked.append)
    with nvml.opened(UUID), nvml.opened(f"GPU-{UUID}"), nvml.opened(f"MIG-{UUID}"):
        pass
    assert asked == [f"GPU-{UUID}", f"GPU-{UUID}", f"MIG-{UUID}"]


def test_a_reading_the_driver_refuses_is_absent(driver):
    def refuse(*_):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    driver.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", refuse)
    driver.setattr(pynvml, "nvmlDeviceGetPowerUsage", refuse)
    with nvml.opened(UUID) as gpu:
        assert gpu is not None
        assert gpu.energy_j() is None
        assert gpu.power_w() is None


def test_without_a_driver_there_is_no_gpu(monkeypatch):
    def fail():
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", fail)
    with nvml.opened(UUID) as gpu:
        assert gpu is None
    assert nvml.device_names() == []
