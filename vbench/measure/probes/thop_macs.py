"""Operations as thop counts them, to compare with ours."""

import json

from vbench.core.metrics import Metric
from vbench.measure.counting.compare import as_note, compare
from vbench.measure.counting.exact import count_operations
from vbench.measure.counting.report import COUNTER_FAILURES, explained
from vbench.measure.counting.with_thop import count_with_thop
from vbench.measure.probes import Samples, probe
from vbench.measure.subject import Subject


@probe(
    Metric(
        name="thop_macs",
        kind="counted",
        better="neither",
        describe="operations of a forward pass of one batch by thop's standard rules",
    ),
    devices=("meta",),
    default=False,
    order=21,
)
def thop_macs(subject: Subject) -> Samples:
    """Count the same model at the same input; absent, with the reason, where thop fails."""
    try:
        count = count_with_thop(subject.model, subject.clips)
    except COUNTER_FAILURES as error:
        return Samples(values={}, notes={"thop_error": explained(error)})
    notes = {}
    if subject.case.mode == "inference":  # the libraries count a forward pass
        ours = count_operations(subject.model, subject.step)
        notes["thop_differences"] = as_note(compare(ours, count))
    return Samples(
        values={"thop_macs": [count.macs]},
        notes=notes
        | {
            "thop_by_module_type": json.dumps(dict(count.by_operator)),
            "thop_without_rule": json.dumps(dict(count.missed)),
        },
    )
