"""The timed loop: warm up until stable, then time calls until the median is known well enough."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from vbench.core import stats
from vbench.core.types import TimingSpec
from vbench.measure.device import Device

Call = Callable[[], object]
Clock = Callable[[], float]

WARMUP_WINDOW = 5
WARMUP_AGREEMENT = 0.01
MAX_QUEUED_S = 0.05
PLATEAU_SAMPLES = 64
PLATEAU_CHANGE = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class Timed:
    """What the loop saw.

    Attributes:
        latencies_s: Device time of each call.
        enqueue_s: Host time until each call returned; on a CPU the same as the latency.
        warmup_iters: Untimed calls before.
        stopped: Which rule ended the loop.
    """

    latencies_s: list[float]
    enqueue_s: list[float]
    warmup_iters: int
    stopped: str


def time_calls(
    call: Call,
    device: Device,
    timing: TimingSpec,
    clock: Clock = time.perf_counter,
    *,
    when_warm: Call = lambda: None,
) -> Timed:
    """Time calls one by one between two marks on the device's own queue.

    Inside a sample: the call's work on the device, and nothing else. At most `MAX_QUEUED_S` of
    work is queued ahead of the device, so that a sample does not wait behind many others.
    `when_warm` is called once between the warm-up and the first sample.
    """
    warmup_iters = warm_up(call, device, timing, clock)
    when_warm()
    latencies_s: list[float] = []
    enqueue_s: list[float] = []
    device.synchronize()
    begin = clock()
    while True:
        marks = []
        for _ in range(_queue_length(latencies_s)):
            start, host_start = device.mark(), clock()
            call()
            enqueue_s.append(clock() - host_start)
            marks.append((start, device.mark()))
        device.synchronize()
        latencies_s += [device.elapsed_s(start, end) for start, end in marks]
        stopped = stop_reason(latencies_s, clock() - begin, timing)
        if stopped:
            return Timed(
                latencies_s=latencies_s,
                enqueue_s=enqueue_s,
                warmup_iters=warmup_iters,
                stopped=stopped,
            )


def _queue_length(latencies_s: list[float]) -> int:
    if not latencies_s:
        return 1
    return max(1, min(16, int(MAX_QUEUED_S / max(stats.median(latencies_s[-5:]), 1e-6))))


def warm_up(call: Call, device: Device, timing: TimingSpec, clock: Clock) -> int:
    """Call until the medians of the last five calls and of the five before agree within 1 %.

    Returns:
        The number of calls. The caps of `timing` end it in any case.
    """
    samples: list[float] = []
    begin = clock()
    while True:
        start = clock()
        call()
        device.synchronize()
        now = clock()
        samples.append(now - start)
        if len(samples) >= timing.max_warmup_iters or now - begin >= timing.max_warmup_s:
            return len(samples)
        if len(samples) >= timing.warmup_iters and _is_steady(samples, now - begin, timing):
            return len(samples)


def _is_steady(samples: list[float], elapsed_s: float, timing: TimingSpec) -> bool:
    # A loop that will be cut at its maximum anyway gains nothing from a longer warm-up.
    if elapsed_s >= timing.max_duration_s:
        return True
    if len(samples) < 2 * WARMUP_WINDOW:
        return False
    recent = stats.median(samples[-WARMUP_WINDOW:])
    before = stats.median(samples[-2 * WARMUP_WINDOW : -WARMUP_WINDOW])
    return abs(recent - before) <= WARMUP_AGREEMENT * before


def stop_reason(samples: list[float], elapsed_s: float, timing: TimingSpec) -> str | None:
    """Why the loop may end now, or None if it may not."""
    if elapsed_s >= timing.max_duration_s:
        return f"after the longest time allowed, {timing.max_duration_s:g} s"
    if len(samples) < timing.min_iters or elapsed_s < timing.min_duration_s:
        return None
    half_width = stats.half_width_percent(samples)
    if half_width is not None and half_width <= timing.half_width_percent:
        return f"median known within {timing.half_width_percent:g} %"
    if _noise_is_flat(samples):
        return "more samples no longer lower the noise"
    return None


def _noise_is_flat(samples: list[float]) -> bool:
    """Whether the last 64 samples changed the relative spread by less than 5 %."""
    if len(samples) < 2 * PLATEAU_SAMPLES:
        return False
    now, before = _relative_spread(samples), _relative_spread(samples[:-PLATEAU_SAMPLES])
    return before == 0 or abs(now - before) <= PLATEAU_CHANGE * before


def _relative_spread(samples: list[float]) -> float:
    middle = stats.median(samples)
    return stats.median([abs(sample - middle) for sample in samples]) / middle
