"""Numbers as a person reads them. Records hold SI base units; prefixes are chosen here, on showing.

One scale serves a whole column or axis, so that its numbers can be compared at a glance.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_GIB: Final = 2.0**30

# Unit -> what it is shown in, from the largest: (shown unit, size, least value it suits).
_SCALES: Final[dict[str, tuple[tuple[str, float, float], ...]]] = {
    "B": (("GiB", _GIB, 0.1 * _GIB), ("MiB", 2.0**20, 0.1 * 2**20), ("KiB", 2.0**10, 0.0)),
    "s": (("s", 1.0, 10.0), ("ms", 1e-3, 1e-4), ("us", 1e-6, 0.0)),
    "J": (("kJ", 1e3, 1e4), ("J", 1.0, 0.1), ("mJ", 1e-3, 0.0)),
    "Hz": (("MHz", 1e6, 0.0),),
    "FLOP/s": (("TFLOP/s", 1e12, 1e11), ("GFLOP/s", 1e9, 0.0)),
    "B/s": (("GB/s", 1e9, 0.0),),
    "": (("T", 1e12, 1e13), ("G", 1e9, 1e8), ("M", 1e6, 1e5), ("", 1.0, 0.0)),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Scale:
    """A shown unit and how many base units it is worth."""

    unit: str
    size: float

    def number(self, value: float) -> str:
        """Render a value in base units, without its unit."""
        return number(value / self.size)

    def with_unit(self, value: float) -> str:
        """Render a value in base units with its unit."""
        return f"{self.number(value)} {self.unit}".rstrip()

    def interval(self, value: float, low: float | None, high: float | None) -> str:
        """Render a value and, where it is known, its interval, all with the same decimals."""
        text = self.number(value)
        if low is None or high is None or math.isnan(low) or math.isnan(high):
            return text
        places = decimals(value / self.size)
        ends = (f"{end / self.size:,.{places}f}" for end in (low, high))
        return f"{text} [{', '.join(ends)}]"


def scale_for(unit: str, values: Iterable[float]) -> Scale:
    """Pick the scale that suits the middle of `values`, all in base `unit`.

    >>> scale_for("B", [3 * 2.0**30]).with_unit(3 * 2.0**30)
    '3.00 GiB'
    """
    ordered = sorted(abs(value) for value in values if value and math.isfinite(value))
    middle = ordered[len(ordered) // 2] if ordered else 0.0
    for shown, size, least in _SCALES.get(unit, ((unit, 1.0, 0.0),)):
        if middle >= least:
            return Scale(unit=shown, size=size)
    return Scale(unit=unit, size=1.0)


def with_unit(value: float, unit: str) -> str:
    """One quantity in the scale that suits it.

    >>> with_unit(0.0123, "s")
    '12.3 ms'
    """
    return scale_for(unit, [value]).with_unit(value)


def decimals(value: float) -> int:
    """Places after the point that show three significant digits of `value`, none from 100 on."""
    if value == 0 or not math.isfinite(value):
        return 0
    return min(max(2 - math.floor(math.log10(abs(value))), 0), 12)


def number(value: float) -> str:
    """Render three significant digits, or all whole digits.

    >>> number(0.01234), number(1.234), number(12.34), number(1234.5), number(0)
    ('0.0123', '1.23', '12.3', '1,234', '0')
    """
    places = decimals(value)
    rounded = round(value, places)
    return f"{rounded:,.{decimals(rounded)}f}"


def times(ratio: float) -> str:
    """Render a ratio for a sentence: two significant digits below ten, whole numbers above.

    >>> times(40.5), times(2.84), times(0.571), times(6.0)
    ('40', '2.8', '0.57', '6')
    """
    if ratio >= 10 or ratio == round(ratio):
        return f"{ratio:,.0f}"
    return f"{ratio:.1f}" if ratio >= 1 else f"{ratio:.2g}"


def plain(text: object) -> str:
    r"""Make one clean line of text from a record: no control or direction-changing characters.

    >>> plain("out of\nmemory\x1b[31m")
    'out of memory [31m'
    """
    clean = (character if character.isprintable() else " " for character in str(text))
    return " ".join("".join(clean).split())
