"""The first step of a process, and on a CPU what memory it took."""

import time

import torch
import torch.nn.functional as F

from vbench.core.metrics import Metric
from vbench.measure import device as devices
from vbench.measure.probes import Samples, probe
from vbench.measure.subject import Subject


@probe(
    Metric(
        name="cold_start_s",
        kind="measured",
        better="lower",
        describe="wall time of the first step: kernel loading, autotuning, allocation; absent "
        "where the model is compiled",
    ),
    Metric(
        name="compile_s",
        kind="measured",
        better="lower",
        describe="wall time of the first step of a compiled model: tracing and compiling in one "
        "process, and what a cold start takes",
    ),
    Metric(
        name="peak_rss_growth_bytes",
        kind="measured",
        better="lower",
        describe="growth of resident memory during one step on a CPU; weights and clips left out; "
        "absent where the model is compiled",
    ),
    devices=("cpu", "cuda"),
    order=0,
)
def cold_start(subject: Subject) -> Samples:
    """Take one step in a fresh process.

    On a CPU the memory is read here: later steps reuse pages that this one made resident. Of a
    compiled model it is left out, because the compiler's own would be most of it.
    """
    is_compiled = subject.case.compile
    device = devices.open_device(subject.case.device)
    if subject.case.device == "cpu":
        load_math_libraries(subject.clips.dtype)
    has_memory = subject.case.device == "cpu" and not is_compiled
    on_cpu = has_memory and devices.reset_peak_resident()
    before = devices.resident_bytes() if on_cpu else None
    device.synchronize()
    start = time.perf_counter()
    subject.step()
    device.synchronize()
    first = "compile_s" if is_compiled else "cold_start_s"
    values: dict[str, list[float]] = {first: [time.perf_counter() - start]}
    peak = devices.peak_resident_bytes() if on_cpu else None
    if before is not None and peak is not None:
        values["peak_rss_growth_bytes"] = [max(peak - before, 0)]
    return Samples(values=values)


def load_math_libraries(dtype: torch.dtype) -> None:
    """Have the CPU's math libraries loaded: 20 MB that no model is to blame for."""
    x = torch.ones(1, 3, 4, 16, 16, dtype=dtype)
    y = F.conv3d(x, torch.ones(16, 3, 2, 4, 4, dtype=dtype), stride=(2, 4, 4))  # (1, 16, 2, 4, 4)
    y = F.layer_norm(y.flatten(2).transpose(1, 2), (16,))  # (1, 32, 16)
    y = F.linear(y, torch.ones(16, 16, dtype=dtype))
    F.scaled_dot_product_attention(y[None], y[None], y[None])
    (y @ y.transpose(1, 2)).softmax(-1)
