"""Operations and parameters, counted without running the model."""

import json
from collections.abc import Mapping
from typing import Final

from torch import nn

from vbench.core.metrics import Metric
from vbench.measure.counting.conventions import is_recurrence
from vbench.measure.counting.exact import OperationCount, count_operations
from vbench.measure.probes import Samples, probe
from vbench.measure.subject import TRAINING_STEP, Subject

CONVENTION: Final = (
    "1 multiply-accumulate = 1; elementwise work, norms, softmax, pooling and interpolation count "
    "nothing; masked and causal attention count all of N x N"
)


@probe(
    Metric(
        name="macs",
        kind="counted",
        better="lower",
        describe="multiply-accumulates of one batch; of forward and backward pass in training",
    ),
    Metric(
        name="scan_macs",
        kind="counted",
        better="lower",
        describe="the part of macs that lies in recurrences, such as the selective scan",
    ),
    Metric(
        name="vmamba_scan_flops",
        kind="counted",
        better="neither",
        describe="FLOPs of selective scans in the forward pass as VMamba counts them: 9 a token, "
        "channel and state, 1 a token and channel for skip and gate each; not in macs",
    ),
    Metric(
        name="params",
        kind="counted",
        better="lower",
        describe="parameters, shared ones once, buffers left out",
    ),
    Metric(
        name="params_bytes",
        kind="counted",
        better="lower",
        describe="bytes of the parameters as they are stored",
    ),
    Metric(
        name="trainable_params",
        kind="counted",
        better="neither",
        describe="parameters that a training step updates",
    ),
    devices=("meta",),
    order=10,
)
def macs(subject: Subject) -> Samples:
    """Count one step on the meta device, operator by operator.

    Raises:
        UncountableError: The model runs an operator whose cost nobody has declared.
    """
    count = count_operations(subject.model, subject.step)
    scan_macs = sum(
        macs for operator, macs in count.by_operator().items() if is_recurrence(operator)
    )
    values = {"macs": [count.macs]} | _sizes(subject.model)
    if scan_macs:
        values["scan_macs"] = [scan_macs]
    if count.vmamba_scan_flops:
        values["vmamba_scan_flops"] = [float(count.vmamba_scan_flops)]
    return Samples(values=values, notes=_notes(subject, count))


def _sizes(model: nn.Module) -> dict[str, list[float]]:
    parameters = list(model.parameters())
    return {
        "params": [sum(p.numel() for p in parameters)],
        "params_bytes": [sum(p.numel() * p.element_size() for p in parameters)],
        "trainable_params": [sum(p.numel() for p in parameters if p.requires_grad)],
    }


def _notes(subject: Subject, count: OperationCount) -> dict[str, str]:
    notes = {
        "macs_convention": CONVENTION,
        "macs_by_operator": _json(count.by_operator()),
        "macs_by_part": _json({part: n for (part,), n in count.by("module").items() if part}),
    }
    if subject.case.mode == "training":
        notes["macs_step"] = TRAINING_STEP
        notes["macs_by_phase"] = _json({phase: n for (phase,), n in count.by("phase").items()})
    if count.not_counted:
        notes["macs_not_counted"] = _json(count.not_counted)
    return notes


def _json(numbers: Mapping[str, float]) -> str:
    return json.dumps({name: int(n) if n == int(n) else n for name, n in numbers.items()})
