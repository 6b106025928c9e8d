"""One record as a reader wants it: a row a quantity, kept apart by kind."""

from dataclasses import dataclass

from vbench.core import stats
from vbench.core.metrics import Kind, unit_of
from vbench.core.types import Record
from vbench.core.units import number, with_unit


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One quantity of one kind.

    Attributes:
        quantity: What it is, in words.
        source: Which metric or counter it comes from.
        low: Lower end of the 95 % interval of the median, where there are samples enough.
        high: Its upper end.
    """

    quantity: str
    kind: Kind
    source: str
    value: float
    unit: str
    low: float | None = None
    high: float | None = None
    num_samples: int = 1

    @property
    def text(self) -> str:
        """The value with its unit, and its interval where there is one."""
        value = with_unit(self.value, self.unit)
        if self.low is None or self.high is None or self.value <= 0:
            return value
        percent = 50 * (self.high - self.low) / self.value
        return f"{value} +-{number(percent)} %"


# Quantity, metric. Where two kinds give the same quantity they share its row, never its column.
_A_BATCH = (
    ("latency a batch", "latency_s"),
    ("latency a batch", "estimated_latency_s"),
    ("first step", "cold_start_s"),
    ("peak memory allocated", "peak_allocated_bytes"),
    ("peak memory allocated", "estimated_peak_bytes"),
    ("peak memory reserved", "peak_reserved_bytes"),
    ("GPU memory used, by NVML", "nvml_used_bytes"),
    ("resident memory grown in a step", "peak_rss_growth_bytes"),
    ("activation memory", "estimated_activation_bytes"),
    ("memory traffic", "estimated_moved_bytes"),
    ("power", "gpu_power_w"),
    ("parameters", "params"),
    ("parameters trained", "trainable_params"),
)
_A_CLIP = (
    ("energy a clip", "energy_j"),
    ("energy a clip above idle", "energy_above_idle_j"),
    ("energy a clip, CPU packages", "cpu_energy_j"),
    ("MACs a clip, exact", "macs"),
    ("MACs a clip, of them in the scan", "scan_macs"),
    ("MACs a clip, fvcore", "fvcore_macs"),
    ("MACs a clip, thop", "thop_macs"),
)


def rows(record: Record, *, peak_flops_per_s: float | None = None) -> list[Row]:
    """The quantities of one record.

    Args:
        record: What was measured; a metric it lacks has no row.
        peak_flops_per_s: Of its device in its precision, for the utilisation.
    """
    found = [row for name, metric in _A_BATCH if (row := _row(record, name, metric))]
    clips = record.batch_size or 1
    found += [row for name, metric in _A_CLIP if (row := _row(record, name, metric, clips))]
    return _throughput(record) + found + _utilisation(record, peak_flops_per_s) + _error(record)


def _row(record: Record, quantity: str, metric: str, clips: int = 1) -> Row | None:
    taken = next((m for m in record.measurements if m.metric == metric), None)
    if taken is None or not taken.values:
        return None
    values = [value / clips for value in taken.values]
    interval = stats.median_interval(values) or (None, None)
    return Row(
        quantity=quantity,
        kind=taken.kind,
        source=metric,
        value=stats.median(values),
        unit=unit_of(metric),
        low=interval[0],
        high=interval[1],
        num_samples=len(values),
    )


def _throughput(record: Record) -> list[Row]:
    clips = record.batch_size or 1
    found = []
    for metric in ("latency_s", "estimated_latency_s"):
        latency = _row(record, "", metric)
        if latency is None or latency.value <= 0:
            continue
        per_second = (("clips/s", clips), ("frames/s", clips * record.case.clip.num_frames))
        for unit, count in per_second:
            found.append(
                Row(
                    quantity="throughput" if unit == "clips/s" else "throughput in frames",
                    kind=latency.kind,
                    source=metric,
                    value=count / latency.value,
                    unit=unit,
                    low=count / latency.high if latency.high else None,
                    high=count / latency.low if latency.low else None,
                    num_samples=latency.num_samples,
                )
            )
    return found


def _utilisation(record: Record, peak_flops_per_s: float | None) -> list[Row]:
    latency, macs = _row(record, "", "latency_s"), _row(record, "", "macs")
    if latency is None or macs is None or latency.value <= 0:
        return []
    achieved = 2 * macs.value / latency.value
    found = [
        Row(
            quantity="arithmetic rate",
            kind="measured",
            source="2 macs / latency_s",
            value=achieved,
            unit="FLOP/s",
        )
    ]
    if peak_flops_per_s:
        found.append(
            Row(
                quantity="utilisation of peak",
                kind="measured",
                source="2 macs / latency_s / peak",
                value=100 * achieved / peak_flops_per_s,
                unit="%",
            )
        )
    return found


def _error(record: Record) -> list[Row]:
    """How far the estimate was from the allocator's peak."""
    measured = _row(record, "", "peak_allocated_bytes")
    estimated = _row(record, "", "estimated_peak_bytes")
    if measured is None or estimated is None or measured.value <= 0:
        return []
    return [
        Row(
            quantity="error of the memory estimate",
            kind="estimated",
            source="estimated_peak_bytes / peak_allocated_bytes - 1",
            value=100 * (estimated.value / measured.value - 1),
            unit="%",
        )
    ]
