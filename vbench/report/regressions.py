"""Two runs of one sweep: what became worse, beyond a threshold and beyond chance.

Cases are joined by their id, so both runs asked the same. The processes of a point are pooled, as
in a report. What was counted must not change at all; of what was measured or estimated, the ratio
of medians is judged. A measured ratio has an interval, and is a regression only if that leaves out
equality.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Literal

import msgspec

from vbench.core import stats, store
from vbench.core.errors import UsageError
from vbench.core.metrics import Kind, Metric
from vbench.core.types import Record
from vbench.core.units import plain
from vbench.report.differences import Pair, notes
from vbench.report.labels import case_label

THRESHOLD: Final = 0.05
Verdict = Literal["worse", "changed", "better", "equal", "unsure", "refused"]
REGRESSIONS: Final[frozenset[Verdict]] = frozenset({"worse", "changed"})
_ORDER: Final[tuple[Verdict, ...]] = ("worse", "changed", "refused", "unsure", "better", "equal")


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One metric of one point, before and after.

    Attributes:
        case_id: Of the point's first process.
        before: Pooled median, in base units; `after` likewise.
        ratio: After over before; None where that is 0.
        low: 95 % interval of the ratio, None with too few samples; `high` its other end.
        num_before: Samples; `num_after` likewise.
        verdict: ``changed`` is a count that differs at all, ``unsure`` a difference beyond the
            threshold that too few samples stand behind, ``refused`` one of two machines.
    """

    case_id: str
    case: str
    metric: str
    kind: Kind
    better: Literal["lower", "higher"]
    before: float
    after: float
    ratio: float | None
    low: float | None
    high: float | None
    num_before: int
    num_after: int
    verdict: Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Ending:
    """A case that finished in one run and not in the other."""

    case_id: str
    case: str
    before: str
    after: str
    error: str
    verdict: Literal["worse", "better"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SweepComparison:
    """Two runs side by side.

    Attributes:
        changes: Regressions first.
        only_before: Cases that the second run does not have; `only_after` the other way round.
        num_failed_both: Cases that finished in neither.
        notes: What differs beside the numbers, and what was not judged.
    """

    threshold: float
    num_common: int
    changes: tuple[Change, ...]
    endings: tuple[Ending, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]
    num_failed_both: int
    notes: tuple[str, ...]

    @property
    def regressions(self) -> tuple[Change | Ending, ...]:
        """What is worse or differs where nothing may, failures first."""
        return (
            *(ending for ending in self.endings if ending.verdict == "worse"),
            *(change for change in self.changes if change.verdict in REGRESSIONS),
        )


def compare_sweeps(
    before_dir: Path,
    after_dir: Path,
    *,
    metrics: Mapping[str, Metric],
    threshold: float = THRESHOLD,
    across_hardware: bool = False,
) -> SweepComparison:
    """Compare two run folders of `vbench sweep`.

    Args:
        before_dir: The run to be compared with.
        after_dir: The run to be judged.
        metrics: What the probes declare; others are not judged, since none knows their direction.
        threshold: Least part by which a measured or estimated metric must be worse.
        across_hardware: Judge what was measured on different devices too.

    Raises:
        UsageError: They share no case, or nothing of the shared ones can be judged.
    """
    before, after = (store.latest(store.read(path).records) for path in (before_dir, after_dir))
    common = [case_id for case_id in before if case_id in after]
    if not common:
        raise UsageError(
            f"no case is in both {before_dir} and {after_dir}",
            hint="both must come of one spec: same models, inputs, timing and device",
        )
    pairs = [(before[case_id], after[case_id]) for case_id in common]
    judge = _Judge(metrics=metrics, threshold=threshold, across_hardware=across_hardware)
    changes = [change for point in _points(pairs) for change in judge.changes(point)]
    endings = tuple(_endings(pairs))
    if changes and not endings and all(change.verdict == "refused" for change in changes):
        raise UsageError(
            f"{before_dir} and {after_dir} were measured on different hardware",
            hint="--across-hardware judges them all the same",
        )
    return SweepComparison(
        threshold=threshold,
        num_common=len(common),
        changes=tuple(sorted(changes, key=lambda change: _ORDER.index(change.verdict))),
        endings=endings,
        only_before=_only(before, after),
        only_after=_only(after, before),
        num_failed_both=sum(a.status != "ok" != b.status for a, b in pairs),
        notes=(*notes(pairs), *_unjudged(changes)),
    )


def _only(here: Mapping[str, Record], there: Mapping[str, Record]) -> tuple[str, ...]:
    labels = (case_label(record) for case_id, record in here.items() if case_id not in there)
    return tuple(dict.fromkeys(labels))


def _endings(pairs: Iterable[Pair]) -> Iterator[Ending]:
    for before, after in pairs:
        if (before.status == "ok") != (after.status == "ok"):
            yield Ending(
                case_id=after.case_id,
                case=case_label(after),
                before=before.status,
                after=after.status,
                error=plain(after.error or before.error or ""),
                verdict="worse" if before.status == "ok" else "better",
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Point:
    """The processes of one point that finished, before and after: the same ones."""

    case_id: str
    before: tuple[Record, ...]
    after: tuple[Record, ...]

    @property
    def is_one_batch(self) -> bool:
        """Whether all ran the same number of clips at once; `auto` may have found others."""
        return len({record.batch_that_ran for record in (*self.before, *self.after)}) == 1

    @property
    def is_one_hardware(self) -> bool:
        return _hardware(self.before) == _hardware(self.after)


def _points(pairs: Iterable[Pair]) -> list[_Point]:
    members: dict[str, list[Pair]] = defaultdict(list)
    for before, after in pairs:
        if before.status == after.status == "ok":
            first = msgspec.structs.replace(before.case, repeat=0)
            members[first.case_id].append((before, after))
    return [
        _Point(case_id=case_id, before=tuple(b for b, _ in both), after=tuple(a for _, a in both))
        for case_id, both in members.items()
    ]


def _hardware(records: Iterable[Record]) -> set[tuple[str, int | None]]:
    found = (record.environment for record in records)
    return {(one.device_name, one.gpu_memory_bytes) for one in found if one is not None}


_THROUGHPUTS: Final = {
    "latency_s": "throughput_clips_per_s",
    "estimated_latency_s": "estimated_throughput_clips_per_s",
}
_PER_CLIP: Final = {
    "energy_j": "energy_per_clip_j",
    "energy_above_idle_j": "energy_above_idle_per_clip_j",
    "cpu_energy_j": "cpu_energy_per_clip_j",
    "macs": "macs_per_clip",
    "scan_macs": "scan_macs_per_clip",
}
Samples = dict[tuple[str, Kind], list[tuple[float, ...]]]
"""Of each metric and kind, the samples of each process."""


def _samples(records: Iterable[Record], *, by_clip: bool) -> Samples:
    """What the processes of a point recorded, and their throughput.

    Args:
        by_clip: Only what can be compared though the batches differ.
    """
    found: Samples = defaultdict(list)
    for record in records:
        size = record.batch_that_ran
        for taken in record.measurements:
            if not taken.values or size is None:
                continue
            if not by_clip:
                found[taken.metric, taken.kind].append(taken.values)
            elif taken.metric in _PER_CLIP:
                shares = tuple(value / size for value in taken.values)
                found[_PER_CLIP[taken.metric], taken.kind].append(shares)
            if taken.metric in _THROUGHPUTS and min(taken.values) > 0:
                rates = tuple(size / value for value in taken.values)
                found[_THROUGHPUTS[taken.metric], taken.kind].append(rates)
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class _Judge:
    """What decides over a change."""

    metrics: Mapping[str, Metric]
    threshold: float
    across_hardware: bool

    def changes(self, point: _Point) -> Iterator[Change]:
        """Every metric that both sides have and whose direction is known."""
        before, after = (
            _samples(records, by_clip=not point.is_one_batch)
            for records in (point.before, point.after)
        )
        for (name, kind), taken in before.items():
            metric = self._declared(name)
            if metric is None or metric.better == "neither" or (name, kind) not in after:
                continue
            yield self._change(point, name, metric, taken, after[name, kind])

    def _declared(self, name: str) -> Metric | None:
        """What is known of a metric, or of the recorded one that it follows from."""
        for recorded, derived in _THROUGHPUTS.items():
            if name == derived and recorded in self.metrics:
                return replace(self.metrics[recorded], better="higher")
        origin = next((recorded for recorded, one in _PER_CLIP.items() if one == name), name)
        return self.metrics.get(origin)

    def _change(
        self,
        point: _Point,
        name: str,
        metric: Metric,
        before: list[tuple[float, ...]],
        after: list[tuple[float, ...]],
    ) -> Change:
        middles = [stats.median([v for one in side for v in one]) for side in (before, after)]
        interval = stats.ratio_interval(before, after) if metric.kind == "measured" else None
        ratio = middles[1] / middles[0] if middles[0] > 0 else None
        is_refused = metric.kind == "measured" and not (
            metric.is_repeatable or point.is_one_hardware or self.across_hardware
        )
        low, high = interval or (None, None)
        return Change(
            case_id=point.case_id,
            case=case_label(point.after[0]),
            metric=name,
            kind=metric.kind,
            better="lower" if metric.better == "lower" else "higher",
            before=middles[0],
            after=middles[1],
            ratio=ratio,
            low=low,
            high=high,
            num_before=sum(map(len, before)),
            num_after=sum(map(len, after)),
            verdict="refused" if is_refused else self._verdict(metric, middles, interval),
        )

    def _verdict(
        self, metric: Metric, middles: Sequence[float], interval: tuple[float, float] | None
    ) -> Verdict:
        before, after = middles if metric.better == "lower" else reversed(middles)
        if metric.kind == "counted":
            return "equal" if before == after else "changed"
        if before / (1 + self.threshold) <= after <= before * (1 + self.threshold):
            return "equal"
        is_certain = metric.kind == "estimated" or (interval is None and metric.is_repeatable)
        if interval is not None:
            is_certain = interval[1] < 1 or interval[0] > 1
        if not is_certain:
            return "unsure"
        return "worse" if after > before else "better"


def _unjudged(changes: Sequence[Change]) -> Iterator[str]:
    """How many comparisons ended without a verdict, and why."""
    refused = sum(change.verdict == "refused" for change in changes)
    if refused:
        yield f"not judged: {refused} taken on different hardware; --across-hardware judges them"
    unsure = sum(change.verdict == "unsure" for change in changes)
    if unsure:
        yield (
            f"unsure: {unsure} beyond the threshold, which chance or too few samples may explain"
        )
