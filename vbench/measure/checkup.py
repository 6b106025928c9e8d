"""What this machine can measure: one finding a topic, with the way to what is missing."""

import importlib.metadata
import os
import shutil
from pathlib import Path

from msgspec import Struct

from vbench.core.errors import VbenchError
from vbench.core.types import BenchSpec
from vbench.measure import compiler, nvml, rapl, system
from vbench.measure.request import Inspection
from vbench.measure.sweep import runner_for

MIN_FREE_BYTES = 1 << 30
BUSY_LOAD = 0.5


class Finding(Struct, frozen=True, kw_only=True):
    """Whether one thing can be measured here.

    Attributes:
        hint: How to get it, if it is missing, or what to beware of.
    """

    topic: str
    available: bool
    found: str
    hint: str | None = None


def checkup() -> list[Finding]:
    """Look at everything a measurement may need. Changes nothing."""
    try:
        with runner_for(BenchSpec(name="doctor", models=("none",))) as runner:
            machine = runner.inspect()
    except VbenchError as error:
        return [
            Finding(
                topic="models",
                available=False,
                found=str(error),
                hint="install with: pip install -c constraints.txt -e .",
            )
        ]
    return [
        Finding(
            topic="operations and estimates",
            available=True,
            found=f"torch {machine.torch}, --device meta needs no GPU",
        ),
        _cpu(machine),
        _cuda(machine),
        _nvml(machine),
        _rapl(),
        _triton(machine),
        _compiler(),
        *(_package(name, topic, hint) for name, topic, hint in _PACKAGES),
        _native_memory(),
        _disk(),
    ]


_PACKAGES = (
    ("fvcore", "operations by fvcore", "pip install fvcore"),
    ("thop", "operations by thop", "pip install thop"),
)


def _cpu(machine: Inspection) -> Finding:
    load = os.getloadavg()[0]
    busy = load > BUSY_LOAD * machine.num_cpus
    return Finding(
        topic="time on the CPU",
        available=True,
        found=f"{machine.cpu_model}, {machine.num_cpus} CPUs, load {load:.1f}",
        hint="other work is running: timings will be noisy" if busy else None,
    )


def _cuda(machine: Inspection) -> Finding:
    if machine.devices:
        found = ", ".join(
            f"{name} (compute {capability}, {size / 2**30:.0f} GiB)"
            for name, capability, size in zip(
                machine.devices, machine.compute_capabilities, machine.memory_bytes, strict=True
            )
        )
        return Finding(topic="time and memory on a GPU", available=True, found=found)
    if nvml.device_names():
        return Finding(
            topic="time and memory on a GPU",
            available=False,
            found=f"the driver has {nvml.device_names()[0]}, torch {machine.torch} sees none",
            hint="install a CUDA build of torch that this driver supports",
        )
    return Finding(
        topic="time and memory on a GPU",
        available=False,
        found="no CUDA device",
        hint="--device meta estimates any GPU; --device cpu measures small inputs",
    )


def _nvml(machine: Inspection) -> Finding:
    names = nvml.device_names()
    return Finding(
        topic="energy, clocks, memory by NVML",
        available=bool(names),
        found=", ".join(names) if names else "NVML is not there",
        hint=None if names else "comes with NVIDIA's driver; containers must be given it",
    )


def _rapl() -> Finding:
    is_there = rapl.opened() is not None
    return Finding(
        topic="energy of the CPU by RAPL",
        available=is_there,
        found="readable" if is_there else "RAPL is not there, or may not be read",
        hint=None if is_there else f"root may read it below {rapl.ROOT}, where there is one",
    )


def _triton(machine: Inspection) -> Finding:
    return Finding(
        topic="fast scan on a GPU",
        available=machine.triton is not None and bool(machine.devices),
        found=f"triton {machine.triton}" if machine.triton else "triton is not installed",
        hint="needs a CUDA device" if machine.triton else "CUDA builds of torch bring it",
    )


def _compiler() -> Finding:
    found = compiler.cpp_compiler()
    return Finding(
        topic="compiled models on the CPU",
        available=found is not None,
        found=found or f"no {compiler.CXX}",
        hint=None if found else "--compile needs g++, or another compiler named in CXX",
    )


def _package(name: str, topic: str, hint: str) -> Finding:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Finding(topic=topic, available=False, found="not installed", hint=hint)
    return Finding(topic=topic, available=True, found=f"{name} {version}")


def _native_memory() -> Finding:
    available = system.available_bytes()
    can_reset = os.access("/proc/self/clear_refs", os.W_OK)
    return Finding(
        topic="memory on the CPU",
        available=available is not None and can_reset,
        found="unknown" if available is None else f"{available / 2**30:.1f} GiB free",
        hint=None if can_reset else "needs Linux's /proc; elsewhere use --device meta",
    )


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    writable = os.access(Path.cwd(), os.W_OK)
    return Finding(
        topic="results kept in this folder",
        available=writable and free > MIN_FREE_BYTES,
        found=f"{free / 2**30:.0f} GiB free" if writable else "not writable",
        hint=None if writable else "write elsewhere with --results or --out",
    )
