"""Time of one step on the device, and whether anything was compiled meanwhile."""

import json

from vbench.core.metrics import Metric
from vbench.measure.compiler import Compilations, compilations
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
    Metric(
        name="num_graph_breaks",
        kind="measured",
        better="lower",
        describe="places where torch.compile had to end a graph and go on in Python",
        is_repeatable=True,
    ),
    Metric(
        name="num_recompiles",
        kind="measured",
        better="lower",
        describe="functions that torch.compile compiled during the timed steps: should be none",
        is_repeatable=True,
    ),
    devices=("cpu", "cuda"),
    order=10,
)
def latency(subject: Subject) -> Samples:
    """Time steps until the median is known; decoding and transfer are not included."""
    device = open_device(subject.case.device)
    compiled: list[Compilations] = []

    def when_warm() -> None:
        if subject.case.compile:
            compiled.append(compilations())

    timed = time_calls(subject.step, device, subject.case.timing, when_warm=when_warm)
    values = {
        "latency_s": timed.latencies_s,
        "num_warmup_iters": [float(timed.warmup_iters)],
    }
    if subject.case.device != "cpu":
        values["host_enqueue_s"] = timed.enqueue_s
    notes = {"timing stopped": timed.stopped}
    if compiled:
        values |= compiler_values(compiled[0], compilations())
        notes |= compiler_notes(compiled[0], compilations())
    return Samples(values=values, notes=notes)


def compiler_values(warm: Compilations, end: Compilations) -> dict[str, list[float]]:
    """What the compiler did: up to the end, and after the warm-up."""
    return {
        "num_graph_breaks": [float(sum(end.graph_breaks.values()))],
        "num_recompiles": [float(end.num_frames - warm.num_frames)],
    }


def compiler_notes(warm: Compilations, end: Compilations) -> dict[str, str]:
    """Why graphs ended, and in words that timed steps were compiled in between."""
    notes = {}
    if end.graph_breaks:
        notes["graph_breaks"] = json.dumps(end.graph_breaks)
    recompiles = end.num_frames - warm.num_frames
    if recompiles:
        notes["recompiled"] = f"{recompiles} times during timed steps, whose time it is part of"
    return notes
