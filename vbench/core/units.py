"""Quantities as people read them: an SI or binary prefix, and digits that mean something."""

from typing import Final

_SI: Final = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))
_SMALL: Final = ((1.0, ""), (1e-3, "m"), (1e-6, "u"), (1e-9, "n"))
_BINARY: Final = ((1 << 40, "Ti"), (1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki"), (1, ""))


def quantity(value: float, unit: str) -> str:
    """`value` in `unit` with a prefix and three significant digits.

    >>> quantity(0.01234, "s"), quantity(3 * 2**30, "B"), quantity(10.3e9, ""), quantity(41.7, "%")
    ('12.3 ms', '3.00 GiB', '10.3 G', '41.7 %')
    """
    if unit == "B":
        scale, prefix = _prefix(value, _BINARY)
    elif unit in ("s", "J"):
        scale, prefix = _prefix(value, _SMALL)
    elif unit in ("%", "C", "clips/s", "frames/s", "px"):
        scale, prefix = 1.0, ""
    else:
        scale, prefix = _prefix(value, _SI)
    return f"{digits(value / scale)} {prefix}{unit}".strip()


def digits(value: float) -> str:
    """Three significant digits without an exponent.

    >>> digits(1234.5), digits(12.345), digits(0.012345), digits(0.0)
    ('1234', '12.3', '0.0123', '0')
    """
    if value == 0:
        return "0"
    magnitude = abs(value)
    if magnitude >= 100:
        return f"{value:.0f}"
    if magnitude >= 10:
        return f"{value:.1f}"
    if magnitude >= 1:
        return f"{value:.2f}"
    return f"{value:.3g}"


def _prefix(value: float, prefixes: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    return next((p for p in prefixes if abs(value) >= p[0]), prefixes[-1])
