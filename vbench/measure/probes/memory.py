"""Device memory of one step, as the allocator and as the driver see it."""

from typing import Any

import torch

from vbench.core.metrics import Metric
from vbench.measure import nvml
from vbench.measure.probes import Samples, probe
from vbench.measure.subject import Subject


@probe(
    Metric(
        name="peak_allocated_bytes",
        kind="measured",
        better="lower",
        describe="most bytes of live tensors during a step, weights and clips included",
        is_repeatable=True,
    ),
    Metric(
        name="peak_reserved_bytes",
        kind="measured",
        better="lower",
        describe="most bytes the caching allocator held during a step",
        is_repeatable=True,
    ),
    Metric(
        name="resident_allocated_bytes",
        kind="measured",
        better="lower",
        describe="bytes of live tensors between steps: weights, clips, optimiser state",
        is_repeatable=True,
    ),
    Metric(
        name="nvml_used_bytes",
        kind="measured",
        better="lower",
        describe="memory in use on the whole GPU after a step, by NVML: context included",
    ),
    devices=("cuda",),
    order=20,
)
def memory(subject: Subject) -> Samples:
    """Take one step after warm-up with the peaks reset, apart from timing."""
    return measure_step(subject, torch.cuda)


def measure_step(subject: Subject, cuda: Any) -> Samples:
    """The probe, over anything that has the functions of ``torch.cuda``."""
    device = subject.case.device
    cuda.synchronize(device)
    cuda.empty_cache()
    cuda.reset_peak_memory_stats(device)
    resident = cuda.memory_allocated(device)
    subject.step()
    cuda.synchronize(device)
    values: dict[str, list[float]] = {
        "peak_allocated_bytes": [cuda.max_memory_allocated(device)],
        "peak_reserved_bytes": [cuda.max_memory_reserved(device)],
        "resident_allocated_bytes": [resident],
    }
    notes = {}
    with nvml.opened(str(cuda.get_device_properties(device).uuid)) as gpu:
        used = gpu.used_bytes() if gpu else None
    if used is None:
        notes["nvml memory"] = "not given by the driver"
    else:
        values["nvml_used_bytes"] = [used]
    retries = cuda.memory_stats(device).get("num_alloc_retries", 0)
    if retries:
        notes["allocator"] = f"{retries} allocations succeeded only after the cache was emptied"
    return Samples(values=values, notes=notes)
