"""How metrics are named to a reader, and the order they are shown in. Unknown ones show too."""

from typing import Final

from vbench.core.metrics import unit_of

HEADLINE: Final = (
    "latency_s",
    "throughput_clips_per_s",
    "peak_allocated_bytes",
    "peak_allocated_growth_bytes",
    "peak_rss_growth_bytes",
    "peak_rss_bytes",
    "energy_per_clip_j",
    "utilisation_percent",
    "estimated_latency_s",
    "estimated_throughput_clips_per_s",
    "estimated_peak_bytes",
    "estimated_activation_bytes",
    "params",
    "macs_per_clip",
)
"""Metrics of the main table; all others follow in a second one."""

_NAMES: Final = {
    "latency_s": "latency of a batch",
    "throughput_clips_per_s": "throughput",
    "throughput_frames_per_s": "throughput in frames",
    "peak_allocated_bytes": "peak memory, allocated",
    "peak_allocated_per_clip_bytes": "peak memory a clip, allocated",
    "peak_reserved_bytes": "peak memory, reserved",
    "peak_allocated_growth_bytes": "activation memory, allocated",
    "peak_allocated_growth_per_clip_bytes": "activation memory a clip, allocated",
    "peak_rss_growth_bytes": "activation memory, resident",
    "peak_rss_growth_per_clip_bytes": "activation memory a clip, resident",
    "peak_rss_bytes": "peak resident memory",
    "nvml_used_bytes": "memory in use by NVML",
    "energy_j": "energy of a batch",
    "energy_per_clip_j": "energy a clip",
    "energy_above_idle_j": "energy of a batch above idle",
    "energy_above_idle_per_clip_j": "energy a clip above idle",
    "cpu_energy_j": "energy of a batch, CPU packages",
    "cpu_energy_per_clip_j": "energy a clip, CPU packages",
    "achieved_flops_per_s": "operations a second (2 x MACs)",
    "utilisation_percent": "utilisation of peak",
    "estimated_latency_s": "latency of a batch",
    "estimated_throughput_clips_per_s": "throughput",
    "estimated_throughput_frames_per_s": "throughput in frames",
    "estimated_peak_bytes": "peak memory",
    "estimated_peak_per_clip_bytes": "peak memory a clip",
    "estimated_activation_bytes": "activation memory",
    "estimated_activation_per_clip_bytes": "activation memory a clip",
    "params": "parameters",
    "macs": "MACs a batch",
    "macs_per_clip": "MACs a clip",
}
_ENDINGS: Final = (
    "_clips_per_s",
    "_frames_per_s",
    "_bytes_per_s",
    "_flops_per_s",
    "_percent",
    "_bytes",
    "_celsius",
    "_hz",
    "_px",
    "_s",
    "_j",
    "_w",
)


def name_of(metric: str) -> str:
    """Name without unit; an unknown metric's own name in words."""
    if metric in _NAMES:
        return _NAMES[metric]
    ending = next((end for end in _ENDINGS if unit_of(metric) and metric.endswith(end)), "")
    return metric.removesuffix(ending).replace("_", " ")


def order_of(metric: str) -> tuple[int, str]:
    """Sort key: what is known in its order, then the rest by name."""
    names = [*HEADLINE, *_NAMES]
    return (names.index(metric) if metric in names else len(names), metric)
