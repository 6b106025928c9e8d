"""Memory, traffic and time of a step on a named GPU, estimated without running it."""

import json
from collections.abc import Mapping

from vbench.core.metrics import Metric
from vbench.measure import estimate as estimator
from vbench.measure.probes import Samples, probe
from vbench.measure.subject import Subject

_MOST_OPERATORS = 12


@probe(
    Metric(
        name="estimated_peak_bytes",
        kind="estimated",
        better="lower",
        describe="most bytes alive at once in a step, as torch's allocator counts allocated ones; "
        "without library workspaces",
    ),
    Metric(
        name="estimated_activation_bytes",
        kind="estimated",
        better="lower",
        describe="most bytes alive at once but for weights, autocast's copies of them, clips and "
        "what the optimizer takes; gradients and temporaries included",
    ),
    Metric(
        name="estimated_moved_bytes",
        kind="estimated",
        better="lower",
        describe="inputs read and outputs written by each kernel of a step, once each",
    ),
    Metric(
        name="estimated_latency_s",
        kind="estimated",
        better="lower",
        describe="least time of a step on the named GPU: for each kernel the longest of bytes over "
        "bandwidth, flops over peak, exponentials over their rate; launches cost nothing",
    ),
    devices=("meta",),
    order=30,
)
def estimate(subject: Subject) -> Samples:
    """Follow one step, every operator of it, on the meta device.

    Raises:
        UsageError: The GPU is not known, or the attention kernel asked for cannot run.
    """
    found = estimator.estimate(subject)
    values: dict[str, list[float]] = {
        "estimated_peak_bytes": [found.peak_bytes],
        "estimated_activation_bytes": [found.activation_bytes],
        "estimated_moved_bytes": [found.moved_bytes],
    }
    if found.latency_s is not None:
        values["estimated_latency_s"] = [found.latency_s]
    return Samples(values=values, notes=_notes(found))


def _notes(found: estimator.Estimate) -> dict[str, str]:
    notes = {
        "estimate_gpu": f"{found.gpu.name}: {found.gpu.source}",
        "estimate_bytes_at_peak": json.dumps(dict(found.at_peak)),
        "estimate_kernels": str(found.num_kernels),
    }
    if found.attention_kernels:
        notes["estimate_attention_kernels"] = json.dumps(dict(found.attention_kernels))
    if found.missing_peak:
        notes["estimate_latency_missing"] = found.missing_peak
    else:
        notes["estimate_time_percent_by_bound"] = _percent(found.seconds_by_bound)
        notes["estimate_time_percent_by_operator"] = _percent(found.seconds_by_operator)
    return notes


def _percent(seconds: Mapping[str, float]) -> str:
    """Shares of the time, the largest first."""
    total = sum(seconds.values()) or 1.0
    largest = list(seconds.items())[:_MOST_OPERATORS]
    return json.dumps({name: round(100 * share / total, 1) for name, share in largest})
