"""Records -> one tidy frame: a row per point and metric. The only place that knows both.

A point is a case without what does not show in a result: which process of several measured it,
which probes ran, the seed, when timing stopped. Its processes are pooled.
"""

import functools
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import pandas as pd

from vbench.core import stats
from vbench.core.metrics import unit_of
from vbench.core.types import Case, Record
from vbench.core.units import plain

AXES: Final = (
    "model",
    "num_frames",
    "height_px",
    "width_px",
    "batch",
    "precision",
    "autocast",
    "mode",
    "attention",
    "compile",
    "cudagraph",
    "device",
    "place",
)
COLUMNS: Final = (
    "point_id",
    *AXES,
    "batch_size",
    "status",
    "error",
    "num_processes",
    "num_failed",
    "kernels",
    "metric",
    "kind",
    "unit",
    "count",
    "median",
    "low",
    "high",
    "p5",
    "p95",
    "between_percent",
)
_FLOATS: Final = ("median", "low", "high", "p5", "p95", "between_percent")
NO_DEVICE: Final = "no named device"


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Summarise the latest record of each case, pooling the processes of a point.

    Columns are `COLUMNS`. `place` is the device that the numbers speak of: the one that ran, or
    the one named to an estimate. `low` and `high` bound the median with 95 % confidence; over
    several processes they also hold each process's own median, and `between_percent` is how far
    those medians lie apart. `kernels` says which ran, in words. A point that failed keeps whatever
    it measured, or one row without a metric.
    """
    points: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record, place in latest(records):
        points[_axes(record.case, place)].append(_own(record, place))
    rows = [row for axes, members in points.items() for row in _point_rows(axes, members)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.astype({"batch_size": "Int64"} | dict.fromkeys(_FLOATS, "float64"))


def latest(records: Iterable[Record]) -> list[tuple[Record, str]]:
    """The last record of each case in each place, with the place."""
    ordered = sorted(records, key=lambda record: record.started_at_utc)
    names = _names_of_devices(ordered)
    kept = {}
    for record in ordered:
        place = place_of(record, names)
        kept[record.case_id, place] = record, place
    return list(kept.values())


def _own(record: Record, place: str) -> Record:
    """The record without a time that was estimated for another device than it ran on.

    A processor, and a GPU whose peaks are not known, is recorded beside the estimate for the
    default GPU; under the name of the device that ran it would be taken for that one's.
    """
    named = plain(record.notes.get("estimate_gpu", "").partition(":")[0])
    if record.case.device == "meta" or named in ("", place):
        return record
    own = tuple(taken for taken in record.measurements if taken.metric != "estimated_latency_s")
    return msgspec.structs.replace(record, measurements=own)


def place_of(record: Record, names: dict[str, str]) -> str:
    """Name the device that the record's numbers speak of.

    Args:
        names: What each device of a case most often was, for a process that ended without saying.
    """
    if record.case.device == "meta":
        return plain(record.case.gpu or NO_DEVICE)
    if record.environment is not None:
        return plain(record.environment.device_name)
    return names.get(record.case.device, record.case.device)


def _names_of_devices(records: Sequence[Record]) -> dict[str, str]:
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for record in records:
        if record.environment is not None:
            seen[record.case.device][plain(record.environment.device_name)] += 1
    return {device: names.most_common(1)[0][0] for device, names in seen.items()}


def points(frame: pd.DataFrame) -> pd.DataFrame:
    """Drop what is said of a metric: one row a point."""
    columns = list(COLUMNS[: COLUMNS.index("metric")])
    return frame.drop_duplicates("point_id")[columns].reset_index(drop=True)


def precision_label(precision: str, autocast: bool) -> str:  # noqa: FBT001 - a column's value
    """Name the arithmetic in words, as in ``bf16 autocast``."""
    return f"{precision} autocast" if autocast else precision


def _axes(case: Case, place: str) -> tuple[object, ...]:
    device = case.device.partition(":")[0]
    return (
        plain(case.model),
        case.clip.num_frames,
        case.clip.height_px,
        case.clip.width_px,
        str(case.batch_size),
        case.precision,
        case.autocast,
        case.mode,
        case.attention,
        case.compile,
        case.cudagraph,
        device,
        place,
    )


def _point_rows(axes: tuple[object, ...], members: list[Record]) -> list[dict[str, Any]]:
    failed = [record for record in members if record.status != "ok"]
    whole = [record for record in members if record.status == "ok"]
    size = _size_that_ran(whole or members)
    common = dict(zip(AXES, axes, strict=True)) | {
        "point_id": hashlib.sha256(repr(axes).encode()).hexdigest()[:12],
        "batch_size": size,
        "status": "ok" if whole else failed[-1].status,
        "error": plain(failed[-1].error or "") if failed else "",
        "num_processes": len(members),
        "num_failed": len(failed),
        "kernels": " / ".join(dict.fromkeys(map(_kernels, whole or members))),
    }
    pooled = _pool([record for record in whole or members if _size_that_ran([record]) == size])
    return [
        common | {"metric": metric, "kind": kind, "unit": unit_of(metric)} | _summary(samples)
        for (metric, kind), samples in pooled.items()
    ] or [common]


def _kernels(record: Record) -> str:
    """Which attention kernel and which forms of the zoo's operators ran, in words."""
    return plain(record.notes.get("kernels", ""))


def _size_that_ran(members: list[Record]) -> int | None:
    """Clips a batch, which `auto` may have found differently in each process: the first found."""
    asked = members[0].case.batch_size
    found = (record.batch_size for record in members if record.batch_size is not None)
    return next(found, None) if asked == "auto" else asked


def _pool(members: list[Record]) -> dict[tuple[str, str], list[tuple[float, ...]]]:
    """Samples by metric and kind, a tuple a process; a later protocol replaces an earlier one."""
    protocols: dict[Case, list[Record]] = defaultdict(list)
    for record in members:
        protocols[msgspec.structs.replace(record.case, repeat=0)].append(record)
    pooled: dict[tuple[str, str], list[tuple[float, ...]]] = {}
    for processes in protocols.values():
        taken: dict[tuple[str, str], list[tuple[float, ...]]] = defaultdict(list)
        for record in processes:
            for measurement in record.measurements:
                if measurement.values:
                    taken[measurement.metric, measurement.kind].append(measurement.values)
        pooled |= taken
    return pooled


def _summary(processes: list[tuple[float, ...]]) -> dict[str, float | int | None]:
    values = sorted(value for process in processes for value in process)
    median = stats.median(values)
    low, high = _interval(values)
    between = None
    if len(processes) > 1:
        medians = [stats.median(process) for process in processes]
        low = min(medians) if low is None else min(low, *medians)
        high = max(medians) if high is None else max(high, *medians)
        between = 100 * (max(medians) - min(medians)) / median if median else 0.0
    return {
        "count": len(values),
        "median": median,
        "low": low,
        "high": high,
        "p5": stats.percentile(values, 5),
        "p95": stats.percentile(values, 95),
        "between_percent": between,
    }


def _interval(ordered: Sequence[float]) -> tuple[float | None, float | None]:
    ranks = _interval_ranks(len(ordered))
    return (None, None) if ranks is None else (ordered[ranks[0]], ordered[ranks[1]])


@functools.cache
def _interval_ranks(num_samples: int) -> tuple[int, int] | None:
    """Which order statistics bound the median: they depend on the number of samples alone."""
    interval = stats.median_interval(range(num_samples))
    return None if interval is None else (int(interval[0]), int(interval[1]))
