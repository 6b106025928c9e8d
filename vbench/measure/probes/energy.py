"""Energy of a step, with and without what the idle GPU would have drawn."""

import torch

from vbench.core.metrics import Metric
from vbench.measure import nvml
from vbench.measure.energy import (
    NUM_WINDOWS,
    Window,
    idle_power_w,
    measure_window,
)
from vbench.measure.probes import Samples, probe
from vbench.measure.subject import Subject


@probe(
    Metric(
        name="energy_j",
        kind="measured",
        better="lower",
        describe="energy of the whole GPU during one step on one batch",
    ),
    Metric(
        name="energy_above_idle_j",
        kind="measured",
        better="lower",
        describe="the same less the idle power over the same time",
    ),
    Metric(name="gpu_power_w", kind="measured", better="neither", describe="mean during steps"),
    Metric(name="sm_clock_hz", kind="measured", better="neither", describe="samples during steps"),
    Metric(
        name="temperature_celsius",
        kind="measured",
        better="neither",
        describe="of the die, samples during steps",
    ),
    devices=("cuda",),
    order=30,
)
def energy(subject: Subject) -> Samples:
    """Average over windows of seconds, apart from timing."""
    device = subject.case.device
    with nvml.opened(str(torch.cuda.get_device_properties(device).uuid)) as gpu:
        if gpu is None:
            return Samples(values={}, notes={"energy": "NVML cannot reach this GPU"})
        if gpu.num_foreign_processes():
            return Samples(
                values={}, notes={"energy": "not taken: other processes compute on this GPU"}
            )
        torch.cuda.synchronize(device)
        idle_w = idle_power_w(gpu)
        windows = [
            measure_window(subject.step, lambda: torch.cuda.synchronize(device), gpu)
            for _ in range(NUM_WINDOWS)
        ]
        return summarize(windows, idle_w)


def summarize(windows: list[Window], idle_w: float | None) -> Samples:
    """Samples a window, and in notes how far they can be trusted."""
    values: dict[str, list[float]] = {
        "sm_clock_hz": [clock for window in windows for clock in window.trace.clocks_hz],
        "temperature_celsius": [
            value for window in windows for value in window.trace.temperatures_celsius
        ],
    }
    notes = {}
    measured = [window for window in windows if window.energy_j is not None]
    if measured:
        energies = [(window.energy_j or 0.0, window) for window in measured]
        values["energy_j"] = [joules / window.num_steps for joules, window in energies]
        values["gpu_power_w"] = [joules / window.duration_s for joules, window in energies]
        if idle_w is not None:
            values["energy_above_idle_j"] = [
                (joules - idle_w * window.duration_s) / window.num_steps
                for joules, window in energies
            ]
        source = "counter" if measured[0].counter_j is not None else "integrated power"
        notes["energy source"] = source
    else:
        notes["energy"] = "the driver gives neither an energy counter nor power"
    if any(window.disagrees for window in windows):
        notes["energy check"] = "counter and integrated power differ by more than 10 %"
    shares = [window.trace.throttled_shares() for window in windows]
    reasons = {name: max(s.get(name, 0.0) for s in shares) for share in shares for name in share}
    if reasons:
        notes["clocks lowered"] = ", ".join(
            f"{name} {share:.0%} of the time" for name, share in reasons.items()
        )
    return Samples(values={name: taken for name, taken in values.items() if taken}, notes=notes)
