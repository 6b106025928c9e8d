"""Energy of the processor packages, from the counters that Linux shows of RAPL.

The files are `/sys/class/powercap/intel-rapl:<package>/energy_uj`, of AMD's processors too. Since
Linux 5.10 only root may read them, and containers and virtual machines often lack them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/class/powercap")
_MICRO: Final = 1e-6


@dataclass(slots=True)
class _Counter:
    """One package's counter, which begins again at its range.

    Attributes:
        range_uj: Where it begins again.
        last_uj: The last reading.
        total_uj: What was added up since the first.
    """

    path: Path
    range_uj: int
    last_uj: int
    total_uj: int = 0

    def read(self) -> int:
        now_uj = _integer(self.path / "energy_uj")
        if now_uj is not None:
            grown = now_uj - self.last_uj
            self.total_uj += grown if grown >= 0 else grown + self.range_uj
            self.last_uj = now_uj
        return self.total_uj


class Packages:
    """All processor packages together; reads as the meter of `vbench.measure.energy`.

    It must be read once in a while: between two readings a counter may begin again only once,
    which takes it minutes.
    """

    def __init__(self, counters: list[_Counter]) -> None:
        self._counters = counters

    def energy_j(self) -> float | None:
        """Energy since it was opened."""
        return sum(counter.read() for counter in self._counters) * _MICRO

    def power_w(self) -> float | None:
        """Nothing: RAPL has no power of its own."""

    def sm_clock_hz(self) -> float | None:
        """Nothing: this is no GPU."""

    def temperature_celsius(self) -> float | None:
        """Nothing."""

    def throttle_reasons(self) -> list[str]:
        """Nothing."""
        return []


def opened(root: Path = ROOT) -> Packages | None:
    """The packages of this machine; None where there are none or they cannot be read."""
    found = []
    for path in sorted(root.glob("intel-rapl:*")):
        is_package = path.name.count(":") == 1 and _text(path / "name").startswith("package")
        now, reach = _integer(path / "energy_uj"), _integer(path / "max_energy_range_uj")
        if is_package and now is not None and reach is not None:
            found.append(_Counter(path=path, range_uj=reach, last_uj=now))
    return Packages(found) if found else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _integer(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None
