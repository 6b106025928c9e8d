"""What lies between two runs of the same cases beside their numbers, in words."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from vbench.core.types import Record
from vbench.core.units import plain
from vbench.report.labels import case_label

Pair = tuple[Record, Record]
"""One case, before and after."""

_BUSY: Final = 1.0
_NOTED: Final = {
    "device_name": "device",
    "gpu_memory_bytes": "GPU memory",
    "gpu_uuid": "GPU UUID",
    "gpu_power_limit_w": "GPU power limit (W)",
    "cpu_model": "CPU",
    "num_threads": "CPU threads",
    "driver": "driver",
    "cuda": "CUDA",
    "cudnn": "cuDNN",
    "torch": "torch",
    "triton": "triton",
    "python": "Python",
    "vbench": "vbench",
    "git_commit": "git commit",
    "allow_tf32": "TF32 allowed",
    "cudnn_benchmark": "cuDNN benchmark",
}


def notes(pairs: Sequence[Pair]) -> Iterator[str]:
    """Environments that differ, busy machines, other batches, lone processes, lone metrics."""
    yield from _environments(pairs)
    loads = [_highest_load(side) for side in zip(*pairs, strict=True)]
    if max(loads) > _BUSY:
        yield (
            f"busy machine: load average up to {loads[0]:.1f} before, {loads[1]:.1f} after; its "
            "timings are not the code's alone"
        )
    resized = [(b, a) for b, a in pairs if b.batch_that_ran != a.batch_that_ran]
    for before, after in resized:
        yield (
            f"compared by the clip, since the batch differs: {case_label(before)}: "
            f"{before.batch_that_ran}; {after.batch_that_ran}"
        )
    for side, word in (((0, 1), "before"), ((1, 0), "after")):
        for metric, count in _lone_metrics(pairs, *side).items():
            yield f"only {word}: {plain(metric)}, of {count} case{'s' if count > 1 else ''}"
    if not any(before.case.repeat for before, _ in pairs):
        yield (
            "each point was measured in one process, so what moves between processes is not in the "
            "intervals; `vbench sweep --repeats 3` puts it there"
        )


def _environments(pairs: Sequence[Pair]) -> Iterator[str]:
    for field, name in _NOTED.items():
        here, there = (
            sorted({_shown(getattr(one.environment, field)) for one in side if one.environment})
            for side in zip(*pairs, strict=True)
        )
        if here != there:
            yield f"{name} differs: {', '.join(here)}; {', '.join(there)}"


def _lone_metrics(pairs: Iterable[Pair], here: int, there: int) -> Counter[str]:
    """Metrics that finished cases have on one side alone."""
    finished = (pair for pair in pairs if all(record.status == "ok" for record in pair))
    names = [
        [{taken.metric for taken in record.measurements if taken.values} for record in pair]
        for pair in finished
    ]
    return Counter(metric for both in names for metric in sorted(both[here] - both[there]))


def _highest_load(records: Iterable[Record]) -> float:
    loads = (one.environment.load_average for one in records if one.environment is not None)
    return max((load for load in loads if load is not None), default=0.0)


def _shown(value: object) -> str:
    return "unknown" if value is None else plain(value)
