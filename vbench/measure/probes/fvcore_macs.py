"""Operations as fvcore counts them, to compare with ours."""

import json

from vbench.core.metrics import Metric
from vbench.measure.counting.compare import as_note, compare
from vbench.measure.counting.exact import count_operations
from vbench.measure.counting.report import COUNTER_FAILURES, explained
from vbench.measure.counting.with_fvcore import count_with_fvcore
from vbench.measure.probes import Samples, probe
from vbench.measure.subject import Subject


@probe(
    Metric(
        name="fvcore_macs",
        kind="counted",
        better="neither",
        describe="multiply-accumulates of a forward pass of one batch by fvcore's standard rules",
    ),
    devices=("meta",),
    default=False,
    order=20,
)
def fvcore_macs(subject: Subject) -> Samples:
    """Count the same model at the same input; absent, with the reason, where fvcore fails."""
    try:
        count = count_with_fvcore(subject.model, subject.clips)
    except COUNTER_FAILURES as error:
        return Samples(values={}, notes={"fvcore_error": explained(error)})
    notes = {}
    if subject.case.mode == "inference":  # the libraries count a forward pass
        ours = count_operations(subject.model, subject.step)
        notes["fvcore_differences"] = as_note(compare(ours, count))
    return Samples(
        values={"fvcore_macs": [count.macs]},
        notes=notes
        | {
            "fvcore_by_operator": json.dumps(dict(count.by_operator)),
            "fvcore_unsupported": json.dumps(dict(count.missed)),
        },
    )
