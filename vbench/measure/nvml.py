"""One GPU through NVML, found by UUID: CUDA and NVML number devices differently.

Every reading is None where the driver does not give it; a missing value is never zero.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import pynvml

T = TypeVar("T")

# Reasons that mean the clocks were lowered against the load's will; a power cap is normal.
_THERMAL = {
    "hardware slowdown": "nvmlClocksThrottleReasonHwSlowdown",
    "hardware thermal slowdown": "nvmlClocksThrottleReasonHwThermalSlowdown",
    "software thermal slowdown": "nvmlClocksThrottleReasonSwThermalSlowdown",
    "power brake": "nvmlClocksThrottleReasonHwPowerBrakeSlowdown",
    "power cap": "nvmlClocksThrottleReasonSwPowerCap",
}


class Gpu:
    """Readings of one GPU while NVML is open."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def _read(self, function: Callable[..., T], *args: Any) -> T | None:
        try:
            return function(self._handle, *args)
        except pynvml.NVMLError:
            return None

    def energy_j(self) -> float | None:
        """Energy since the driver was loaded; Volta and later."""
        millijoules = self._read(pynvml.nvmlDeviceGetTotalEnergyConsumption)
        return None if millijoules is None else millijoules / 1e3

    def power_w(self) -> float | None:
        """Power draw of the board; averaged by the driver over up to a second."""
        milliwatts = self._read(pynvml.nvmlDeviceGetPowerUsage)
        return None if milliwatts is None else milliwatts / 1e3

    def power_limit_w(self) -> float | None:
        """Enforced power limit."""
        milliwatts = self._read(pynvml.nvmlDeviceGetEnforcedPowerLimit)
        return None if milliwatts is None else milliwatts / 1e3

    def used_bytes(self) -> int | None:
        """Memory in use on the whole device by all processes, without what the driver reserves."""
        memory = self._read(pynvml.nvmlDeviceGetMemoryInfo, pynvml.nvmlMemory_v2)
        return None if memory is None else int(memory.used)

    def sm_clock_hz(self) -> float | None:
        """Clock of the multiprocessors."""
        megahertz = self._read(pynvml.nvmlDeviceGetClockInfo, pynvml.NVML_CLOCK_SM)
        return None if megahertz is None else megahertz * 1e6

    def temperature_celsius(self) -> float | None:
        """Temperature of the die."""
        return self._read(pynvml.nvmlDeviceGetTemperature, pynvml.NVML_TEMPERATURE_GPU)

    def throttle_reasons(self) -> list[str]:
        """Why the clocks are below what the load asks for, in words."""
        mask = self._read(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons) or 0
        return [reason for reason, name in _THERMAL.items() if mask & getattr(pynvml, name)]

    def driver_version(self) -> str | None:
        """Version of the kernel driver."""
        try:
            return str(pynvml.nvmlSystemGetDriverVersion())
        except pynvml.NVMLError:
            return None

    def num_foreign_processes(self) -> int | None:
        """Other processes that compute on the device; containers may hide them."""
        processes = self._read(pynvml.nvmlDeviceGetComputeRunningProcesses)
        if processes is None:
            return None
        return len({process.pid for process in processes} - {os.getpid()})


@contextlib.contextmanager
def opened(uuid: str) -> Iterator[Gpu | None]:
    """The GPU of that UUID, or None where NVML or the device cannot be reached.

    Args:
        uuid: As ``torch.cuda.get_device_properties(i).uuid``, with or without ``GPU-``.
    """
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        yield None
        return
    try:
        full = uuid if uuid.startswith(("GPU-", "MIG-")) else f"GPU-{uuid}"
        try:
            handle = pynvml.nvmlDeviceGetHandleByUUID(full)
        except pynvml.NVMLError:
            yield None
        else:
            yield Gpu(handle)
    finally:
        pynvml.nvmlShutdown()


def device_names() -> list[str]:
    """Names of the GPUs the driver sees, without touching CUDA; empty without a driver."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    try:
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return [str(pynvml.nvmlDeviceGetName(handle)) for handle in handles]
    finally:
        pynvml.nvmlShutdown()
