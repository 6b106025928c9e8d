"""Probes: each file measures one thing and declares the metrics it yields."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from vbench.core.metrics import Metric
from vbench.core.registry import Registry
from vbench.measure.subject import Subject


@dataclass(frozen=True, kw_only=True, slots=True)
class Samples:
    """What a probe found.

    Attributes:
        values: Samples in the order taken, by metric. A metric that this machine or model does not
            have is left out.
        notes: What cannot be a number, by topic, among it why a metric was left out.
    """

    values: Mapping[str, Sequence[float]]
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Probe:
    """A measuring function, the metrics it may yield, and where it can run.

    Attributes:
        devices: Device types, of ``cpu``, ``cuda`` and ``meta``. Counting and estimating happen on
            ``meta``, in a process of their own, so that they cannot disturb what is timed.
        default: Whether it runs when no probes are named.
        order: Probes of one process run from the lowest to the highest.
    """

    name: str
    metrics: tuple[Metric, ...]
    run: Callable[[Subject], Samples]
    devices: tuple[str, ...]
    default: bool
    order: int


PROBES: Registry[Probe] = Registry("probe", package=__name__)

Run = Callable[[Subject], Samples]


def probe(
    *metrics: Metric, devices: tuple[str, ...], default: bool = True, order: int = 50
) -> Callable[[Run], Run]:
    """Register the decorated function as a probe under its own name."""

    def register(function: Run) -> Run:
        PROBES.add(
            function.__name__,
            Probe(
                name=function.__name__,
                metrics=metrics,
                run=function,
                devices=devices,
                default=default,
                order=order,
            ),
        )
        return function

    return register
