"""Where this process runs: everything that may move a number."""

import functools
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

import vbench
from vbench.core.types import Environment
from vbench.measure import nvml, system


def capture(device: str) -> Environment:
    """Describe the machine, and the GPU if `device` is one, as this process sees them.

    What the machine does not tell is left None.
    """
    cuda = _cuda(device) if device.startswith("cuda") else {}
    return Environment(
        vbench=vbench.__version__,
        torch=str(torch.__version__),
        python=platform.python_version(),
        device_name=cuda.pop("device_name", _device_name(device)),
        hostname=platform.node(),
        platform=platform.platform(),
        git_commit=git_commit(),
        cpu_model=system.cpu_model(),
        num_threads=torch.get_num_threads(),
        load_average=os.getloadavg()[0],
        triton=package_version("triton"),
        **cuda,
    )


def _device_name(device: str) -> str:
    return "no device (estimated)" if device == "meta" else system.cpu_model()


def _cuda(device: str) -> dict[str, Any]:
    properties = torch.cuda.get_device_properties(device)
    with nvml.opened(str(properties.uuid)) as gpu:
        return {
            "device_name": properties.name,
            "cuda": torch.version.cuda,
            "cudnn": str(torch.backends.cudnn.version()),
            "driver": gpu.driver_version() if gpu else None,
            "gpu_uuid": str(properties.uuid),
            "gpu_memory_bytes": properties.total_memory,
            "gpu_power_limit_w": gpu.power_limit_w() if gpu else None,
            "allow_tf32": torch.backends.cuda.matmul.allow_tf32,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "foreign_processes": gpu.num_foreign_processes() if gpu else None,
        }


@functools.cache
def git_commit() -> str | None:
    """Commit of the source tree vbench runs from, with ``+`` if it was changed since.

    None for an installed wheel.
    """
    root = Path(vbench.__file__).parents[1]
    if not (root / ".git").exists():
        return None
    try:
        described = subprocess.run(
            ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return described.stdout.strip() or None


@functools.cache
def package_version(distribution: str) -> str | None:
    """Installed version of a distribution, or None."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
