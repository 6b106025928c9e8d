"""The first step of a process."""

import time

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
    devices=("cpu", "cuda"),
    order=0,
)
def cold_start(subject: Subject) -> Samples:
    """Time one step in a fresh process."""
    device = devices.open_device(subject.case.device)
    device.synchronize()
    start = time.perf_counter()
    subject.step()
    device.synchronize()
    first = "compile_s" if subject.case.compile else "cold_start_s"
    return Samples(values={first: [time.perf_counter() - start]})
