"""Time of one step on the device."""

from vbench.core.metrics import Metric
from vbench.measure.device import open_device
from vbench.measure.probes import Samples, probe
from vbench.measure.subject import Subject
from vbench.measure.timing import time_calls


@probe(
    Metric(
        name="latency_s",
        kind="measured",
        better="lower",
        describe="device time of one step on one batch; clips already on the device",
    ),
    Metric(
        name="host_enqueue_s",
        kind="measured",
        better="lower",
        describe="host time until the call returned; near the latency, launches are the limit",
    ),
    Metric(
        name="num_warmup_iters",
        kind="measured",
        better="neither",
        describe="untimed steps before the first timed one",
    ),
    devices=("cpu", "cuda"),
    order=10,
)
def latency(subject: Subject) -> Samples:
    """Time steps until the median is known; decoding and transfer are not included."""
    device = open_device(subject.case.device)
    timed = time_calls(subject.step, device, subject.case.timing)
    values = {
        "latency_s": timed.latencies_s,
        "num_warmup_iters": [float(timed.warmup_iters)],
    }
    if subject.case.device != "cpu":
        values["host_enqueue_s"] = timed.enqueue_s
    return Samples(values=values, notes={"timing stopped": timed.stopped})
