"""Energy of a step on a CPU."""

from collections.abc import Callable
from typing import Final

from vbench.core.metrics import Metric
from vbench.measure import rapl
from vbench.measure.energy import NUM_WINDOWS, Meter, Window, measure_window
from vbench.measure.probes import Samples, probe
from vbench.measure.subject import Subject

WINDOW_S: Final = 1.0  # the counter moves every millisecond


@probe(
    Metric(
        name="cpu_energy_j",
        kind="measured",
        better="lower",
        describe="energy of all processor packages during one step on one batch, by RAPL; what "
        "else they do meanwhile, idling among it, is in it",
    ),
    devices=("cpu",),
    default=False,
    order=30,
)
def cpu_energy(subject: Subject) -> Samples:
    """Average over windows of a second, apart from timing."""
    meter = rapl.opened()
    if meter is None:
        return Samples(values={}, notes={"energy": "RAPL is not there, or may not be read"})
    return measure(subject.step, meter)


def measure(step: Callable[[], object], meter: Meter) -> Samples:
    """A sample a window; a step that outlasts them all is one window."""
    windows: list[Window] = []
    while len(windows) < NUM_WINDOWS and _total_s(windows) < NUM_WINDOWS * WINDOW_S:
        windows.append(measure_window(step, lambda: None, meter, duration_s=WINDOW_S))
    energies = [(window.energy_j or 0.0) / window.num_steps for window in windows]
    return Samples(values={"cpu_energy_j": energies}, notes={"energy source": "RAPL"})


def _total_s(windows: list[Window]) -> float:
    return sum(window.duration_s for window in windows)
