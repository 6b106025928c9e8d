"""Peak FLOP/s of known GPUs, to say what share of it a model reaches.

The list is data of the measuring room, read here as a file: reporting imports none of its code.
"""

import csv
import functools
from importlib import resources
from typing import Final

from vbench.report.derive import Peaks

_FILE: Final = ("measure", "hardware.csv")


@functools.cache
def known_peaks() -> Peaks:
    """FLOP/s by exact device name and precision; empty where the list is not installed."""
    path = resources.files("vbench").joinpath(*_FILE)
    if not path.is_file():
        return {}
    peaks = {}
    for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines()):
        for column, value in row.items():
            precision = column.removesuffix("_flops_per_s")
            if precision != column and value:
                peaks[row["name"], precision] = float(value)
    return peaks
