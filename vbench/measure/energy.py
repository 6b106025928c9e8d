"""Energy of a window of steps: the driver's counter, checked against sampled power.

The counter moves in ticks of 10 to 100 ms and power is averaged over up to a second, so a window
lasts seconds, and an energy of one step is a window's energy divided by its steps.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

WINDOW_S = 2.0
NUM_WINDOWS = 3
IDLE_S = 1.0
SAMPLE_PERIOD_S = 0.05
DISAGREEMENT = 0.10


class Meter(Protocol):
    """The readings of a GPU that energy needs."""

    def energy_j(self) -> float | None:
        """Energy since an unknown start."""

    def power_w(self) -> float | None:
        """Power draw."""

    def sm_clock_hz(self) -> float | None:
        """Clock of the multiprocessors."""

    def temperature_celsius(self) -> float | None:
        """Temperature of the die."""

    def throttle_reasons(self) -> list[str]:
        """Why clocks are lowered."""


@dataclass(slots=True)
class Trace:
    """Readings taken while a window ran."""

    times_s: list[float] = field(default_factory=list)
    powers_w: list[float] = field(default_factory=list)
    clocks_hz: list[float] = field(default_factory=list)
    temperatures_celsius: list[float] = field(default_factory=list)
    reasons: list[list[str]] = field(default_factory=list)

    def take(self, meter: Meter, now_s: float) -> None:
        """Add one reading of everything the meter gives."""
        power = meter.power_w()
        if power is not None:
            self.times_s.append(now_s)
            self.powers_w.append(power)
        clock, temperature = meter.sm_clock_hz(), meter.temperature_celsius()
        if clock is not None:
            self.clocks_hz.append(clock)
        if temperature is not None:
            self.temperatures_celsius.append(temperature)
        self.reasons.append(meter.throttle_reasons())

    def energy_j(self) -> float | None:
        """Trapezoid over the power samples; None with fewer than two."""
        if len(self.powers_w) < 2:
            return None
        pairs = zip(self.times_s, self.times_s[1:], self.powers_w, self.powers_w[1:], strict=False)
        return sum((t1 - t0) * (p0 + p1) / 2 for t0, t1, p0, p1 in pairs)

    def throttled_shares(self) -> dict[str, float]:
        """Share of readings at which each reason held."""
        names = sorted({reason for reasons in self.reasons for reason in reasons})
        return {
            name: sum(name in reasons for reasons in self.reasons) / len(self.reasons)
            for name in names
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """One window of steps.

    Attributes:
        counter_j: By the driver's counter, None where there is none.
        integral_j: By sampled power, None with too few samples.
    """

    num_steps: int
    duration_s: float
    counter_j: float | None
    integral_j: float | None
    trace: Trace

    @property
    def energy_j(self) -> float | None:
        """The counter where there is one, else the integral."""
        return self.integral_j if self.counter_j is None else self.counter_j

    @property
    def disagrees(self) -> bool:
        """Whether counter and integral differ by more than 10 %."""
        if self.counter_j is None or self.integral_j is None or self.counter_j <= 0:
            return False
        return abs(self.counter_j - self.integral_j) > DISAGREEMENT * self.counter_j


def idle_power_w(
    meter: Meter, *, sleep: Callable[[float], None] = time.sleep, duration_s: float = IDLE_S
) -> float | None:
    """Mean power over an idle second."""
    powers = []
    for _ in range(max(int(duration_s / SAMPLE_PERIOD_S), 1)):
        power = meter.power_w()
        if power is not None:
            powers.append(power)
        sleep(SAMPLE_PERIOD_S)
    return sum(powers) / len(powers) if powers else None


def measure_window(
    step: Callable[[], object],
    synchronize: Callable[[], None],
    meter: Meter,
    *,
    clock: Callable[[], float] = time.monotonic,
    duration_s: float = WINDOW_S,
) -> Window:
    """Take steps for `duration_s`, the device idle before and after, while a thread samples."""
    trace = Trace()
    done = threading.Event()

    def sample() -> None:
        while not done.is_set():
            trace.take(meter, clock())
            done.wait(SAMPLE_PERIOD_S)

    synchronize()
    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    start_j, start_s = meter.energy_j(), clock()
    num_steps = 0
    while clock() - start_s < duration_s:
        step()
        synchronize()
        num_steps += 1
    end_j, end_s = meter.energy_j(), clock()
    done.set()
    sampler.join()
    return Window(
        num_steps=num_steps,
        duration_s=end_s - start_s,
        counter_j=None if start_j is None or end_j is None else end_j - start_j,
        integral_j=trace.energy_j(),
        trace=trace,
    )
