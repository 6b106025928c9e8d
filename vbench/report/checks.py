"""What a reader should know before trusting the numbers. Flags are words; no sample is dropped."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import pandas as pd

from vbench import __version__
from vbench.core import stats
from vbench.core.types import Record
from vbench.core.units import number, plain
from vbench.report.frame import latest, points
from vbench.report.labels import case_label
from vbench.report.provenance import SPEC_FILE, Run
from vbench.report.series import FAILURES

_FEW_SAMPLES: Final = 10
_SLOW_FIRST: Final = 1.2
_DRIFT: Final = 1.05
_LAUNCH_BOUND: Final = 0.9
_BETWEEN_PERCENT: Final = 5.0
_NAMED: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Flag:
    """One topic, and what was seen of it."""

    topic: str
    text: str


def all_flags(runs: Sequence[Run], frame: pd.DataFrame) -> list[Flag]:
    """Every flag that is raised, what concerns the whole report first."""
    records = [record for record, _ in latest(record for run in runs for record in run.records)]
    return [
        *_of_runs(runs),
        *_of_endings(records),
        *_of_environments(records),
        *_of_batches(frame),
        *_of_processes(frame),
        *_of_samples(records),
    ]


def _of_runs(runs: Sequence[Run]) -> Iterator[Flag]:
    for run in runs:
        if run.torn_lines:
            lines = ", ".join(map(str, run.torn_lines))
            yield Flag(
                topic="torn lines",
                text=f"{run.name}: half-written records were passed over, on lines {lines}",
            )
        if run.num_superseded:
            yield Flag(
                topic="measured again",
                text=f"{run.name}: {run.num_superseded} records were replaced by later ones of the "
                "same case",
            )
        if run.spec is None:
            yield Flag(topic="no spec", text=f"{run.name}: the folder holds no {SPEC_FILE}")


def _of_endings(records: Sequence[Record]) -> Iterator[Flag]:
    endings = Counter(record.status for record in records if record.status != "ok")
    if endings:
        counts = ", ".join(
            f"{count} {FAILURES.get(status, status)}" for status, count in endings.items()
        )
        yield Flag(
            topic="unfinished cases",
            text=f"{sum(endings.values())} of {len(records)} cases did not finish: {counts}",
        )


def _of_environments(records: Sequence[Record]) -> Iterator[Flag]:
    devices: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    versions = Counter[str]()
    for record in records:
        environment = record.environment
        if environment is None or record.case.device == "meta":
            continue
        versions[environment.vbench] += 1
        software = (environment.torch, environment.driver or "", environment.git_commit or "")
        devices[environment.device_name].add(software)
    if len(devices) > 1:
        yield Flag(
            topic="several devices",
            text=f"records of {', '.join(sorted(map(plain, devices)))}; each has panels of its own",
        )
    for device, combinations in sorted(devices.items()):
        if len(combinations) > 1:
            yield Flag(
                topic="mixed environments",
                text=f"{plain(device)}: records under {len(combinations)} combinations of torch, "
                "driver and commit; see the environment table",
            )
    stale = {version: count for version, count in versions.items() if version != __version__}
    if stale:
        taken = ", ".join(f"{count} by {plain(version)}" for version, count in stale.items())
        yield Flag(
            topic="other vbench",
            text=f"this is vbench {__version__}; records were taken otherwise: {taken}",
        )


def _of_batches(frame: pd.DataFrame) -> Iterator[Flag]:
    every = points(frame)
    auto = every[(every["batch"] == "auto") & every["batch_size"].notna()]
    sizes = sorted({int(size) for size in auto["batch_size"]})
    if len(sizes) > 1:
        yield Flag(
            topic="different batches",
            text=f"the largest batch that fitted was used, from {sizes[0]} to {sizes[-1]} clips: "
            "memory is compared per clip, and throughput is each point's own best",
        )
    fixed = every[every["batch"] != "auto"]["batch"].unique()
    if len(fixed) > 1:
        yield Flag(
            topic="different batches",
            text=f"batches of {', '.join(fixed)} clips; no curve and no ratio mixes them",
        )


def _of_processes(frame: pd.DataFrame) -> Iterator[Flag]:
    apart = frame[(frame["metric"] == "latency_s") & (frame["between_percent"] > _BETWEEN_PERCENT)]
    if len(apart):
        worst = apart["between_percent"].max()
        yield Flag(
            topic="processes disagree",
            text=f"{len(apart)} points: medians of their processes lie up to {number(worst)} % "
            "apart; the interval shown holds them all",
        )


def _of_samples(records: Iterable[Record]) -> Iterator[Flag]:
    seen: dict[str, list[str]] = defaultdict(list)
    total = 0
    for record in records:
        total += bool(record.values("latency_s"))
        for topic, check in _CHECKS.items():
            found = check(record)
            if found is not None:
                seen[topic].append(f"{case_label(record)} ({found})")
    for topic, cases in seen.items():
        named = "; ".join(cases[:_NAMED])
        more = f"; and {len(cases) - _NAMED} more" if len(cases) > _NAMED else ""
        yield Flag(topic=topic, text=f"{len(cases)} of {total} timed cases: {named}{more}")


def slow_first(record: Record) -> str | None:
    """The first sample stands above all that follow: warm-up was too short."""
    values = record.values("latency_s")
    if len(values) < 5:
        return None
    rest = stats.median(values[1:])
    if values[0] <= max(_SLOW_FIRST * rest, stats.percentile(values[1:], 95)):
        return None
    return f"the first sample is {number(values[0] / rest)} times the median of the others"


def drift(record: Record) -> str | None:
    """The last third is slower or faster than the first: clocks, heat or a busy machine."""
    values = record.values("latency_s")
    third = len(values) // 3
    if third < 4:
        return None
    ratio = stats.median(values[-third:]) / stats.median(values[:third])
    if 1 / _DRIFT < ratio < _DRIFT:
        return None
    return f"the last third of the samples takes {number(ratio)} times the first"


def outlying(record: Record) -> str | None:
    """Samples over ten standard deviations away, other than the first."""
    values = record.values("latency_s")
    indices = [index for index in stats.outliers(values) if index > 0]
    if not indices:
        return None
    worst = max(values[index] for index in indices) / stats.median(values)
    return f"{len(indices)} of {len(values)} samples, up to {number(worst)} times the median"


def few_samples(record: Record) -> str | None:
    """Too few samples for an interval worth its name."""
    count = len(record.values("latency_s"))
    return f"{count} samples" if 0 < count < _FEW_SAMPLES else None


def wide_interval(record: Record) -> str | None:
    """The interval is over twice as wide as was asked for."""
    width = stats.half_width_percent(record.values("latency_s"))
    asked = record.case.timing.half_width_percent
    if width is None or width <= 2 * asked:
        return None
    return f"+-{number(width)} % where +-{number(asked)} % was asked for"


def lowered_clocks(record: Record) -> str | None:
    """The GPU lowered its clocks."""
    topics = [topic for topic in record.notes if "throttle" in topic or topic == "clocks lowered"]
    return "; ".join(plain(record.notes[topic]) for topic in topics) or None


def launch_bound(record: Record) -> str | None:
    """The host takes as long to launch as the device to run: not the model's speed is seen."""
    latency, enqueue = record.values("latency_s"), record.values("host_enqueue_s")
    if not latency or not enqueue or stats.median(latency) <= 0:
        return None
    share = stats.median(enqueue) / stats.median(latency)
    if share <= _LAUNCH_BOUND:
        return None
    can_graph = record.case.mode == "inference" and not record.case.cudagraph
    advice = "; --cudagraph makes it one launch" if can_graph else ""
    return f"launching takes {share:.0%} of the latency{advice}"


def attention_fallback(record: Record) -> str | None:
    """Attention ran on another kernel than the one asked for."""
    note = record.notes.get("attention fallback")
    return None if note is None else plain(note)


def recompiled(record: Record) -> str | None:
    """torch.compile compiled again while steps were timed."""
    count = sum(record.values("num_recompiles"))
    return f"{count:.0f} times inside the timed steps" if count else None


def shared_device(record: Record) -> str | None:
    """Other processes computed on the GPU."""
    others = record.environment.foreign_processes if record.environment else None
    return f"{others} other processes on the GPU" if others else None


_CHECKS: Final[dict[str, Callable[[Record], str | None]]] = {
    "few samples": few_samples,
    "wide interval": wide_interval,
    "slow first sample": slow_first,
    "drift": drift,
    "outliers": outlying,
    "clocks lowered": lowered_clocks,
    "launch-bound": launch_bound,
    "attention fallback": attention_fallback,
    "recompiled": recompiled,
    "shared device": shared_device,
}
