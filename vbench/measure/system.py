"""What the machine has, read without torch."""

import functools
import os
import platform
from datetime import UTC, datetime
from pathlib import Path


def available_bytes() -> int | None:
    """Memory that can be had without swapping; None where the kernel does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    fields = {line.partition(":")[0]: line.split()[1] for line in lines}
    return int(fields["MemAvailable"]) * 1024 if "MemAvailable" in fields else None


def num_usable_cpus() -> int:
    """Processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def cpu_model() -> str:
    """Marketing name of the processor, or its architecture."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def now_utc() -> str:
    """The time, to a second."""
    return datetime.now(UTC).isoformat(timespec="seconds")
