"""What a video costs beside the accuracy it buys: `vbench eval` measures it before it scores."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vbench.cli import console
from vbench.core.types import Record
from vbench.core.units import with_unit

if TYPE_CHECKING:
    from vbench.accuracy.evaluation import EvalSpec
    from vbench.core.evaluations import VideoCost

_TIMING: Final = {
    "warmup_iters": 1,
    "max_warmup_iters": 5,
    "max_warmup_s": 0.5,
    "min_iters": 6,
    "min_duration_s": 0.5,
    "max_duration_s": 2.0,
}
"""On a CPU, so that it takes a second or two, or two forward passes where one takes longer."""


def measured(spec: "EvalSpec", run_dir: Path) -> Record | None:
    """A forward pass as `vbench profile` measures it, in a process of its own: a kept record.

    It has the evaluation's batch, precision and attention, and nothing is decoded meanwhile. If it
    cannot be measured, operations are counted all the same. A resumed evaluation finds the record
    of the first time.
    """
    from vbench.core import store

    if (run_dir / store.RECORDS_FILE).exists():
        kept = [r for r in store.read(run_dir).records if r.status == "ok"]
        if kept:
            return kept[-1]
    record = _profiled(spec, run_dir, on_device=True)
    if record.status != "ok":
        console.note(f"time and energy not measured: {record.error}")
        record = _profiled(spec, run_dir, on_device=False)
    if record.status != "ok":
        console.note(f"operations not counted: {record.error}")
        return None
    return record


def _profiled(spec: "EvalSpec", run_dir: Path, *, on_device: bool) -> Record:
    from vbench.measure.profile import profile_one

    on_gpu = spec.device.startswith("cuda")
    probes = ["latency", "energy", "memory"] if on_gpu else ["latency", "cpu_energy"]
    table: dict[str, Any] = {
        "device": spec.device if on_device else "meta",
        "probes": ["macs", *(probes if on_device else ())],
        "num_frames": [spec.protocol.num_frames],
        "resolutions_px": [spec.protocol.spatial.crop_px],
        "batch_sizes": [spec.chunk_views],
        "precisions": [spec.precision if on_device else "fp32"],
        "autocast": on_device and spec.precision in ("bf16", "fp16"),
        "attentions": [spec.attention],
    }
    if on_device and not on_gpu:
        table["timing"] = _TIMING
    return profile_one(spec.model, table, out=run_dir)


def notes(cost: "VideoCost") -> list[str]:
    """Operations, time and energy of a video, all its views together, in words."""
    views = f"a video, {cost.num_views:.4g} views" if cost.num_views > 1 else "a video"
    found = []
    if cost.macs_per_video is not None:
        found.append(f"{views}: {with_unit(cost.macs_per_video, '')} MACs, counted")
    if cost.latency_per_video_s is not None:
        found.append(
            f"{views}: {with_unit(cost.latency_per_video_s, 's')} measured on {_where(cost)}"
        )
    if cost.energy_per_video_j is not None:
        meter = f" ({cost.energy_source})" if cost.energy_source else ""
        found.append(f"{views}: {with_unit(cost.energy_per_video_j, 'J')} measured{meter}")
    return found


def _where(cost: "VideoCost") -> str:
    threads = f", {cost.num_threads} threads" if cost.num_threads else ""
    return f"{cost.device_name}{threads}, {cost.precision}, {cost.batch_views} views at once"
