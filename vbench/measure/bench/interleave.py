"""Forms of one computation, timed in turns.

A round times every form once, right after an untimed call of the same form; every other round goes
backwards. What takes long takes part in every fifth round only, or in every tenth, and without the
untimed call, so a sample says which round it was taken in.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from vbench.core.bench import Contender, Role
from vbench.measure.device import Device

SLOW_S: Final = 0.125
SLOW_EVERY: Final = 5
VERY_SLOW_S: Final = 2.0
VERY_SLOW_EVERY: Final = 10

Call = Callable[[], object]
Timer = Callable[[Call], float]
Clock = Callable[[], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """One way to compute it."""

    role: Role
    call: Call


def host_timer(clock: Clock) -> Timer:
    """Seconds of a call by a clock of the host: the process's CPU time, or the wall's."""

    def seconds(call: Call) -> float:
        start = clock()
        call()
        return clock() - start

    return seconds


def device_timer(device: Device) -> Timer:
    """Seconds of a call on the device's own clock, the device idle before and after."""

    def seconds(call: Call) -> float:
        device.synchronize()
        start = device.mark()
        call()
        end = device.mark()
        device.synchronize()
        return device.elapsed_s(start, end)

    return seconds


def interleave(
    forms: Mapping[str, Form],
    *,
    num_rounds: int,
    timer: Timer,
    first_timer: Timer | None = None,
) -> tuple[Contender, ...]:
    """Time all forms in turns.

    Args:
        first_timer: Of first calls, by default the wall's.
    """
    time_first = first_timer or host_timer(time.perf_counter)
    first_s = {name: time_first(form.call) for name, form in forms.items()}
    every = {name: _every(forms[name], seconds, timer) for name, seconds in first_s.items()}
    samples: dict[str, dict[int, float]] = {name: {} for name in forms}
    for index in range(num_rounds):
        names = [name for name in forms if index % every[name] == 0]
        for name in names if index % 2 == 0 else reversed(names):
            if every[name] == 1:
                forms[name].call()
            samples[name][index] = timer(forms[name].call)
    return tuple(
        Contender(
            name=name,
            role=form.role,
            rounds=tuple(samples[name]),
            seconds=tuple(samples[name].values()),
            first_call_s=first_s[name],
        )
        for name, form in forms.items()
    )


def _every(form: Form, first_s: float, timer: Timer) -> int:
    """In which rounds it takes part, by the time that it takes once it is compiled."""
    seconds = timer(form.call) if first_s > SLOW_S else first_s
    if seconds > VERY_SLOW_S:
        return VERY_SLOW_EVERY
    return SLOW_EVERY if seconds > SLOW_S else 1
