"""What each recorded name means. A metric is declared once, by the probe that yields it.

The unit is the end of the name, so a record can be read without the code that wrote it.
"""

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["measured", "counted", "estimated"]

_UNITS: Final = {
    "_clips_per_s": "clips/s",
    "_frames_per_s": "frames/s",
    "_bytes_per_s": "B/s",
    "_flops_per_s": "FLOP/s",
    "_percent": "%",
    "_bytes": "B",
    "_hz": "Hz",
    "_px": "px",
    "_celsius": "C",
    "_s": "s",
    "_j": "J",
    "_w": "W",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Metric:
    """Name, kind and meaning of one quantity.

    Attributes:
        kind: ``measured`` by running the model, ``counted`` exactly without running it, or
            ``estimated`` by a model of the hardware. Kinds never share a column.
        better: Direction of improvement, or ``neither``.
        describe: What is included and left out.
        is_repeatable: Measured, and yet the same request gives the same value, as an allocator's
            peak does; so one sample is enough to compare by.
    """

    name: str
    kind: Kind
    better: Literal["lower", "higher", "neither"]
    describe: str
    is_repeatable: bool = False

    @property
    def unit(self) -> str:
        """Unit of the values, SI without prefix."""
        return unit_of(self.name)


def unit_of(metric: str) -> str:
    """Unit that the name ends in, or an empty string for a count.

    >>> unit_of("peak_allocated_bytes"), unit_of("latency_s"), unit_of("macs")
    ('B', 's', '')
    """
    return next((unit for ending, unit in _UNITS.items() if metric.endswith(ending)), "")
