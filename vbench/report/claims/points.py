"""Points as judges read them: what a clip costs, measured where it was and else estimated."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from vbench.core.metrics import Kind
from vbench.core.types import Record
from vbench.report.derive import add_derived
from vbench.report.frame import precision_label, to_frame

MATERIALISED: Final = "a materialised matrix"
FUSED: Final = "a fused kernel"
KERNELS: Final = {"eager": MATERIALISED, "none": ""}

_TIMES: Final = ("throughput_clips_per_s", "estimated_throughput_clips_per_s")
_ACTIVATIONS: Final = (
    "peak_allocated_growth_per_clip_bytes",
    "estimated_activation_per_clip_bytes",
)


@dataclass(frozen=True, slots=True)
class Reading:
    """A value in base units and how it came about."""

    value: float
    kind: Kind


@dataclass(frozen=True, kw_only=True)
class Point:
    """One case that ran, with the median of each of its metrics."""

    model: str
    attention: str
    mode: str
    precision: str
    num_frames: int
    height_px: int
    width_px: int
    batch: str
    batch_size: int
    metrics: Mapping[str, Reading]

    @property
    def size(self) -> str:
        """Frames and side of its clips."""
        side = self.height_px if self.height_px == self.width_px else None
        return f"{self.num_frames} x {side or f'{self.height_px} x {self.width_px}'}"

    @property
    def kernel(self) -> str:
        """What its attention does with the matrix; empty without attention."""
        return KERNELS.get(self.attention, FUSED)

    @property
    def seconds_per_clip(self) -> Reading | None:
        """Time of a clip within its batch."""
        rate = self._first(_TIMES)
        return None if rate is None else Reading(1 / rate.value, rate.kind)

    @property
    def activation_bytes_per_clip(self) -> Reading | None:
        """Memory of a clip without weights and the clip itself."""
        return self._first(_ACTIVATIONS)

    @property
    def macs_per_clip(self) -> Reading | None:
        """Multiply-accumulates of a clip."""
        return self._first(("macs_per_clip",))

    def _first(self, names: Sequence[str]) -> Reading | None:
        return next((self.metrics[name] for name in names if name in self.metrics), None)


def points_of(records: Iterable[Record]) -> list[Point]:
    """The points that finished, in the order of the records."""
    return points_in(add_derived(to_frame(records)))


def points_in(frame: pd.DataFrame) -> list[Point]:
    """As `points_of`, of a frame with derived rows."""
    whole = frame[(frame["status"] == "ok") & frame["metric"].notna()]
    return [_point(rows) for _, rows in whole.groupby("point_id", sort=False)]


def _point(rows: pd.DataFrame) -> Point:
    first: Any = rows.iloc[0]
    values = zip(rows["metric"], rows["median"], rows["kind"], strict=True)
    return Point(
        model=first["model"],
        attention=first["attention"],
        mode=first["mode"],
        precision=precision_label(first["precision"], first["autocast"]),
        num_frames=int(first["num_frames"]),
        height_px=int(first["height_px"]),
        width_px=int(first["width_px"]),
        batch=first["batch"],
        batch_size=int(first["batch_size"]),
        metrics={name: Reading(float(value), kind) for name, value, kind in values},
    )


def label_of(model: str) -> str:
    """A model's name without the module it comes from."""
    return model.rpartition(":")[2]


def kind_of(readings: Iterable[Reading]) -> str:
    """Kinds of some readings, in words."""
    return " and ".join(sorted({reading.kind for reading in readings}))
