"""Memory of one step on a CPU, as the kernel accounts it."""

from vbench.core.metrics import Metric
from vbench.measure import device as devices
from vbench.measure.probes import Samples, probe
from vbench.measure.subject import Subject


@probe(
    Metric(
        name="peak_rss_growth_bytes",
        kind="measured",
        better="lower",
        describe="growth of resident memory during one warm step on a CPU; weights, clips and what "
        "libraries keep between steps are left out",
    ),
    devices=("cpu",),
    order=20,
)
def resident_memory(subject: Subject) -> Samples:
    """Take one step after warm-up, apart from timing, with the heap's free pages given back.

    Otherwise the step would reuse pages that earlier ones made resident, and seem to need none.
    """
    if not devices.release_free_memory():
        return Samples(values={}, notes={"memory": "this C library cannot give free pages back"})
    before = devices.resident_bytes()
    if before is None or not devices.reset_peak_resident():
        return Samples(values={}, notes={"memory": "this kernel does not account resident memory"})
    subject.step()
    peak = devices.peak_resident_bytes()
    growth = max((peak or before) - before, 0)
    return Samples(values={"peak_rss_growth_bytes": [growth]})
