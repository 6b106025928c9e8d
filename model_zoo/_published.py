"""Numbers that papers and official model zoos print, from ``published.csv``: a row a number.

A row says what was printed, never what it should have been. Columns of the file:

variant        the zoo's model of that name, ``timm:NAME`` for one that timm builds; empty where
               the zoo has none
model          name that the source prints
dataset        whose accuracy it is, or whose classes the head has
metric         see `METRICS`
value, unit    digits as printed (their number tells how it was rounded) and the prefix G, M, T, or
               ``%``; ``444+-18`` is read off a figure
num_frames, frame_stride, size_px, num_clips, num_crops
               of the test input; empty where the source does not print it
pretraining    what the weights were trained on before
source         ``arXiv:NUMBER`` or ``owner/repository@commit``
location       table, or file and line
note           the printed word for an operation count (``GFLOPs``), and what else must be known.
               ``second-hand: ...`` marks what was not read in the source itself

What papers call FLOPs is entered as multiply-accumulates; `vbench audit` checks whether it is so.
"""

import csv
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

METRICS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "params": "parameters",
        "trainable_params": "parameters that are trained",
        "macs": "multiply-accumulates of one clip",
        "macs_per_video": "multiply-accumulates of all views of a video",
        "top1_percent": "top-1 accuracy",
        "top5_percent": "top-5 accuracy",
        "mse": "mean squared error",
    }
)
SCALES: Final[Mapping[str, float]] = MappingProxyType(
    {"": 1.0, "%": 1.0, "M": 1e6, "G": 1e9, "T": 1e12}
)
_SECOND_HAND: Final = "second-hand:"
_PRINTED: Final = re.compile(r"(?P<digits>\d+(?:\.(?P<decimals>\d+))?)(?:\+-(?P<error>\d+))?")


@dataclass(frozen=True, kw_only=True, slots=True)
class PublishedNumber:
    """One printed number. What the source does not print is None, or empty for text.

    Attributes:
        printed: Its digits, and `unit` the prefix behind them.
    """

    variant: str | None
    model: str
    dataset: str
    metric: str
    printed: str
    unit: str
    num_frames: int | None
    frame_stride: int | None
    size_px: int | None
    num_clips: int | None
    num_crops: int | None
    pretraining: str
    source: str
    location: str
    note: str

    @property
    def value(self) -> float:
        """The number in base units."""
        return float(_parsed(self.printed)["digits"]) * SCALES[self.unit]

    @property
    def rounding(self) -> float:
        """How far the number may be from what was rounded to it, in base units."""
        found = _parsed(self.printed)
        half_digit = 0.5 * 10.0 ** -len(found["decimals"] or "")
        return float(found["error"] or half_digit) * SCALES[self.unit]

    @property
    def num_views(self) -> int | None:
        """Clips times crops."""
        if self.num_clips is None or self.num_crops is None:
            return None
        return self.num_clips * self.num_crops

    @property
    def text(self) -> str:
        """The number with its prefix, as printed."""
        return f"{self.printed} {self.unit}".rstrip()

    @property
    def origin(self) -> str:
        """The source in short: the paper or the repository."""
        return self.source.partition("@")[0]

    @property
    def is_second_hand(self) -> bool:
        """Whether it was read elsewhere than in its source."""
        return self.note.startswith(_SECOND_HAND)


def published(
    variant: str | None = None, *, second_hand: bool = False
) -> tuple[PublishedNumber, ...]:
    """Every published number, or those of one variant, in the file's order.

    Args:
        variant: Name of a model of the zoo.
        second_hand: Also those that were not read in their source; never show them as published.
    """
    return tuple(
        row
        for row in _rows()
        if variant in (None, row.variant) and (second_hand or not row.is_second_hand)
    )


@functools.cache
def _rows() -> tuple[PublishedNumber, ...]:
    path = Path(__file__).with_name("published.csv")
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(_row(fields) for fields in csv.DictReader(file))


def _row(fields: dict[str, str]) -> PublishedNumber:
    return PublishedNumber(
        variant=fields["variant"] or None,
        model=fields["model"],
        dataset=fields["dataset"],
        metric=fields["metric"],
        printed=fields["value"],
        unit=fields["unit"],
        num_frames=_integer(fields["num_frames"]),
        frame_stride=_integer(fields["frame_stride"]),
        size_px=_integer(fields["size_px"]),
        num_clips=_integer(fields["num_clips"]),
        num_crops=_integer(fields["num_crops"]),
        pretraining=fields["pretraining"],
        source=fields["source"],
        location=fields["location"],
        note=fields["note"],
    )


def _integer(text: str) -> int | None:
    return int(text) if text else None


def _parsed(printed: str) -> re.Match[str]:
    found = _PRINTED.fullmatch(printed)
    if found is None:
        raise ValueError(f"not a printed number: {printed}")
    return found
