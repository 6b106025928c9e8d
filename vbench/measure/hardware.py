"""What GPUs can do at most, by the exact name that torch and the driver give them.

The table beside this file (``hardware.csv``) holds datasheet figures for dense matrices; memory is
the total that ``nvidia-smi`` shows. A name is found whole or not at all: "A100" alone could be four
cards of three bandwidths.
"""

import csv
import functools
from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from typing import Final

from vbench.core.errors import UsageError
from vbench.core.types import Precision

DEFAULT_GPU: Final = "NVIDIA H100 80GB HBM3"


@dataclass(frozen=True, kw_only=True, slots=True)
class Gpu:
    """Peak rates of one GPU, each reached by no real program.

    Attributes:
        memory_bytes: Total, part of which the driver keeps.
        fp32_flops_per_s: Of vector units; two flops a multiply-add, here and below.
        tf32_flops_per_s: Of matrix units, dense; None where there are none for the type.
        special_functions_per_s: Exponentials and the like: 16 a clock and multiprocessor (CUDA C++
            Programming Guide, throughput of native instructions) at boost clock.
        source: Where the figures are printed.
    """

    name: str
    memory_bytes: int
    bandwidth_bytes_per_s: float
    fp32_flops_per_s: float
    tf32_flops_per_s: float | None
    bf16_flops_per_s: float | None
    fp16_flops_per_s: float | None
    special_functions_per_s: float
    source: str

    def peak_flops_per_s(self, precision: Precision) -> float | None:
        """Most flops a second that matrix products reach in `precision`."""
        peaks: dict[Precision, float | None] = {
            "fp32": self.fp32_flops_per_s,
            "tf32": self.tf32_flops_per_s,
            "bf16": self.bf16_flops_per_s,
            "fp16": self.fp16_flops_per_s,
        }
        return peaks[precision]


def known() -> list[str]:
    """Names of all GPUs in the table, the most capable first."""
    return list(_table())


def find(name: str) -> Gpu | None:
    """The GPU of exactly that name, if it is in the table."""
    return _table().get(name)


def named(name: str | None) -> Gpu:
    """The GPU of exactly that name, `DEFAULT_GPU` for None.

    Raises:
        UsageError: It is not in the table; near names are suggested.
    """
    gpu = find(DEFAULT_GPU if name is None else name)
    if gpu is None:
        assert name is not None
        raise UsageError(f"unknown GPU: {name}", hint=_suggestion(name))
    return gpu


def _suggestion(name: str) -> str:
    lowered = {entry.lower(): entry for entry in known()}
    holding = [entry for low, entry in lowered.items() if name.lower() in low]
    close = [lowered[low] for low in get_close_matches(name.lower(), lowered, n=3, cutoff=0.5)]
    near = list(dict.fromkeys(holding + close))
    if near:
        return f"did you mean: {', '.join(near)}"
    return f"known: {', '.join(known())}"


@functools.cache
def _table() -> dict[str, Gpu]:
    text = (resources.files("vbench.measure") / "hardware.csv").read_text(encoding="utf-8")
    return {row["name"]: _gpu(row) for row in csv.DictReader(text.splitlines())}


def _gpu(row: dict[str, str]) -> Gpu:
    return Gpu(
        name=row["name"],
        memory_bytes=int(row["memory_bytes"]),
        bandwidth_bytes_per_s=float(row["bandwidth_bytes_per_s"]),
        fp32_flops_per_s=float(row["fp32_flops_per_s"]),
        tf32_flops_per_s=_or_none(row["tf32_flops_per_s"]),
        bf16_flops_per_s=_or_none(row["bf16_flops_per_s"]),
        fp16_flops_per_s=_or_none(row["fp16_flops_per_s"]),
        special_functions_per_s=float(row["special_functions_per_s"]),
        source=row["source"],
    )


def _or_none(cell: str) -> float | None:
    return float(cell) if cell else None
