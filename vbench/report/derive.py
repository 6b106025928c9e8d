"""Numbers that follow from recorded ones, added to the frame as further rows.

Throughput is clips over the median latency of one batch. Per clip, memory is the whole peak (with
the weights) over the batch size. Operations a second are 2 x MACs over latency. What follows from
an estimate is an estimate.
"""

from collections.abc import Callable, Mapping
from typing import Final

import pandas as pd

from vbench.core.metrics import unit_of

Peaks = Mapping[tuple[str, str], float]
"""FLOP/s of a device at its best, by its name and the precision."""

_SUMMARY: Final = ("median", "low", "high", "p5", "p95")
_THROUGHPUTS: Final = (
    ("latency_s", "throughput_clips_per_s", "throughput_frames_per_s"),
    (
        "estimated_latency_s",
        "estimated_throughput_clips_per_s",
        "estimated_throughput_frames_per_s",
    ),
)
_PER_CLIP: Final = {
    "peak_allocated_bytes": "peak_allocated_per_clip_bytes",
    "peak_rss_bytes": "peak_rss_per_clip_bytes",
    "peak_rss_growth_bytes": "peak_rss_growth_per_clip_bytes",
    "peak_allocated_growth_bytes": "peak_allocated_growth_per_clip_bytes",
    "estimated_peak_bytes": "estimated_peak_per_clip_bytes",
    "estimated_activation_bytes": "estimated_activation_per_clip_bytes",
    "energy_j": "energy_per_clip_j",
    "energy_above_idle_j": "energy_above_idle_per_clip_j",
    "cpu_energy_j": "cpu_energy_per_clip_j",
    "macs": "macs_per_clip",
}
ESTIMATE_OF: Final = {
    "peak_allocated_bytes": "estimated_peak_bytes",
    "peak_rss_growth_bytes": "estimated_activation_bytes",
}
"""What is estimated of each measured memory: with the weights on a GPU, without them on a CPU."""


def add_derived(frame: pd.DataFrame, peaks: Peaks | None = None) -> pd.DataFrame:
    """Append the rows that can be derived; a frame that has them comes back as it is.

    Args:
        peaks: Where a device is missing from it, its utilisation is left out.
    """
    frame = _with(frame, [_allocated_growth(frame)])
    added: list[pd.DataFrame] = []
    for latency, clips, frames in _THROUGHPUTS:
        added.append(_inverted(frame, latency, clips, lambda rows: rows["batch_size"]))
        added.append(
            _inverted(frame, latency, frames, lambda rows: rows["batch_size"] * rows["num_frames"])
        )
    added += [_per_clip(frame, metric, name) for metric, name in _PER_CLIP.items()]
    added += [_estimate_error(frame, metric, estimate) for metric, estimate in ESTIMATE_OF.items()]
    achieved = _achieved(frame)
    added += [achieved, _utilisation(achieved, peaks or {})]
    return _with(frame, added)


def _with(frame: pd.DataFrame, added: list[pd.DataFrame]) -> pd.DataFrame:
    known = set(frame["metric"].dropna())
    new = [rows for rows in added if len(rows) and rows["metric"].iloc[0] not in known]
    return pd.concat([frame, *new], ignore_index=True) if new else frame


def _allocated_growth(frame: pd.DataFrame) -> pd.DataFrame:
    """What a step adds to the weights, clips and optimiser state that lie there between steps."""
    rows = metric_rows(frame, "peak_allocated_bytes")
    resident = metric_rows(frame, "resident_allocated_bytes").set_index("point_id")["median"]
    known = rows["point_id"].map(resident)
    rows = rows[known.notna()]
    between = known.reindex(rows.index)
    summary = {column: rows[column] - between for column in _SUMMARY}
    return _renamed(rows, "peak_allocated_growth_bytes", **summary)


def metric_rows(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The rows of one metric."""
    return frame[frame["metric"] == metric]


def _inverted(
    frame: pd.DataFrame, metric: str, name: str, amount: Callable[[pd.DataFrame], pd.Series]
) -> pd.DataFrame:
    rows = metric_rows(frame, metric)
    rows = rows[(rows["median"] > 0) & rows["batch_size"].notna()]
    work = amount(rows).astype("float64")
    return _renamed(
        rows,
        name,
        median=work / rows["median"],
        low=work / rows["high"],
        high=work / rows["low"],
        p5=work / rows["p95"],
        p95=work / rows["p5"],
    )


def _per_clip(frame: pd.DataFrame, metric: str, name: str) -> pd.DataFrame:
    rows = metric_rows(frame, metric)
    rows = rows[rows["batch_size"].notna()]
    size = rows["batch_size"].astype("float64")
    return _renamed(rows, name, **{column: rows[column] / size for column in _SUMMARY})


def _estimate_error(frame: pd.DataFrame, measured: str, estimated: str) -> pd.DataFrame:
    rows = metric_rows(frame, measured)
    guesses = metric_rows(frame, estimated).set_index("point_id")["median"]
    guess = rows["point_id"].map(guesses)
    rows, guess = rows[guess.notna() & (rows["median"] > 0)], guess.dropna()
    error = 100 * (guess.reindex(rows.index) / rows["median"] - 1)
    named = f"estimate_error_of_{measured.removesuffix('_bytes')}_percent"
    return _renamed(rows, named, median=error).assign(
        kind="estimated", **dict.fromkeys(("low", "high", "p5", "p95"), float("nan"))
    )


def _achieved(frame: pd.DataFrame) -> pd.DataFrame:
    rows = metric_rows(frame, "latency_s")
    macs = metric_rows(frame, "macs").set_index("point_id")["median"]
    counted = rows["point_id"].map(macs)
    rows = rows[counted.notna() & (rows["median"] > 0)]
    flops = 2 * counted.reindex(rows.index)
    return _renamed(
        rows,
        "achieved_flops_per_s",
        median=flops / rows["median"],
        low=flops / rows["high"],
        high=flops / rows["low"],
        p5=flops / rows["p95"],
        p95=flops / rows["p5"],
    )


def _utilisation(achieved: pd.DataFrame, peaks: Peaks) -> pd.DataFrame:
    keys = zip(achieved["place"], achieved["precision"], strict=True)
    peak = pd.Series([peaks.get(key, float("nan")) for key in keys], index=achieved.index)
    rows = achieved[peak.notna()]
    return _renamed(
        rows,
        "utilisation_percent",
        **{column: 100 * rows[column] / peak.reindex(rows.index) for column in _SUMMARY},
    )


def _renamed(rows: pd.DataFrame, name: str, **columns: pd.Series) -> pd.DataFrame:
    return rows.assign(metric=name, unit=unit_of(name), **columns)
