"""What timing and memory need of a device, so that both can be tested without one.

CPU: `perf_counter`, and the resident set as the kernel accounts it. CUDA: events on the current
stream, and the caching allocator's peaks.
"""

import ctypes
import time
from pathlib import Path
from typing import Any, Protocol

import torch

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")


class Device(Protocol):
    """A clock that runs on the device, and its memory."""

    def synchronize(self) -> None:
        """Return once the device is idle."""

    def mark(self) -> Any:
        """A point in the device's own queue of work."""

    def elapsed_s(self, start: Any, end: Any) -> float:
        """Seconds between two marks that the device has passed."""


class CpuDevice:
    """The processor this process runs on; work is done when a call returns."""

    def synchronize(self) -> None:
        """Nothing is queued."""

    def mark(self) -> float:
        """Now, in monotonic seconds."""
        return time.perf_counter()

    def elapsed_s(self, start: float, end: float) -> float:
        """Difference of two marks."""
        return end - start


class CudaDevice:
    """One CUDA device, current in this process."""

    def __init__(self, name: str) -> None:
        self.device = torch.device(name)
        torch.cuda.set_device(self.device)

    def synchronize(self) -> None:
        """Wait for all streams of the device."""
        torch.cuda.synchronize(self.device)

    def mark(self) -> torch.cuda.Event:
        """An event on the current stream."""
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def elapsed_s(self, start: torch.cuda.Event, end: torch.cuda.Event) -> float:
        """Time on the device between two events, resolution about 0.5 us."""
        return float(start.elapsed_time(end)) / 1e3


def open_device(name: str) -> Device:
    """The device of a case: ``cpu`` or ``cuda:<i>``."""
    return CudaDevice(name) if name.startswith("cuda") else CpuDevice()


def release_free_memory() -> bool:
    """Give the heap's free pages back to the kernel; False where the C library cannot."""
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return False
    trim(0)
    return True


def resident_bytes() -> int | None:
    """Resident set of this process now; None where the kernel does not say."""
    return _status_bytes("VmRSS")


def reset_peak_resident() -> bool:
    """Start the high-water mark of the resident set anew; False where the kernel cannot."""
    try:
        _CLEAR_REFS.write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def peak_resident_bytes() -> int | None:
    """High-water mark of the resident set since it was reset."""
    return _status_bytes("VmHWM")


def data_bytes() -> int | None:
    """Private writable memory of this process, what RLIMIT_DATA limits."""
    return _status_bytes("VmData")


def _status_bytes(field: str) -> int | None:
    try:
        text = _STATUS.read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None
