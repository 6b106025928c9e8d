"""A device, a clock and a meter that the tests own."""

from collections.abc import Callable


class FakeClock:
    """Monotonic seconds that only move when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class FakeDevice:
    """A device whose queue runs on the test's clock, and which remembers what was asked of it."""

    def __init__(self, clock: FakeClock, work_s: Callable[[int], float]) -> None:
        self.clock = clock
        self.work_s = work_s
        self.device_s = 0.0
        self.calls: list[str] = []

    def call(self) -> None:
        """Enqueue one step: the host returns at once, the device works on."""
        self.calls.append("call")
        self.device_s += self.work_s(self.calls.count("call") - 1)

    def synchronize(self) -> None:
        self.calls.append("synchronize")
        self.clock.now_s = max(self.clock.now_s, self.device_s)

    def mark(self) -> float:
        self.calls.append("mark")
        return self.device_s

    def elapsed_s(self, start: float, end: float) -> float:
        return end - start


class FakeMeter:
    """A GPU that draws a constant power, on the test's clock."""

    def __init__(
        self,
        clock: Callable[[], float],
        power_w: float | None = 300.0,
        *,
        has_counter: bool = True,
        counter_factor: float = 1.0,
        reasons: list[str] | None = None,
    ) -> None:
        self.clock = clock
        self.power = power_w
        self.has_counter = has_counter
        self.counter_factor = counter_factor
        self.reasons = reasons or []

    def energy_j(self) -> float | None:
        if not self.has_counter or self.power is None:
            return None
        return self.clock() * self.power * self.counter_factor

    def power_w(self) -> float | None:
        return self.power

    def sm_clock_hz(self) -> float | None:
        return 1.5e9

    def temperature_celsius(self) -> float | None:
        return 60.0

    def throttle_reasons(self) -> list[str]:
        return self.reasons
