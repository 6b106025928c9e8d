"""What the parent asks of a worker, as one line of JSON. Imports no torch."""

from typing import Literal

from msgspec import Struct

from vbench.core.types import Case

Task = Literal["measure", "inspect", "largest_batch"]


class Request(Struct, frozen=True, kw_only=True):
    """One task for one process.

    Attributes:
        task: ``measure`` runs probes, ``inspect`` describes the machine, ``largest_batch`` finds
            the most clips whose estimated memory fits in `memory_bytes`.
        outcome_path: File that the worker writes, whole at any moment.
        batch_size: Clips a batch, where the case leaves it open.
        probes: Names; empty for the default ones of the case's device.
    """

    task: Task
    outcome_path: str
    case: Case | None = None
    batch_size: int | None = None
    probes: tuple[str, ...] = ()
    memory_bytes: int | None = None


class Inspection(Struct, frozen=True, kw_only=True):
    """What a process with torch sees of the machine."""

    torch: str
    cuda_version: str | None
    devices: tuple[str, ...]
    memory_bytes: tuple[int, ...]
    compute_capabilities: tuple[str, ...]
    triton: str | None
    num_cpus: int
    cpu_model: str
    error: str | None = None


class LargestBatch(Struct, frozen=True, kw_only=True):
    """The most clips a batch by estimate; 0 if not even one fits."""

    batch_size: int
    estimated_bytes: int
    error: str | None = None
