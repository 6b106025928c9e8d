"""Two evaluations of the same videos, compared video by video."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from vbench.accuracy import comparison, metrics
from vbench.accuracy.comparison import Paired
from vbench.accuracy.evaluate import read_spec, read_videos
from vbench.accuracy.evaluation import EvalSpec
from vbench.accuracy.types import ACTION, VideoRecord
from vbench.core.errors import UsageError

SIGNIFICANCE: Final = 0.05


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadComparison:
    """The top-1 of one head under two evaluations.

    Attributes:
        corrected_p_value: McNemar's, for having compared every head that is listed (Holm).
        is_regression: The second is worse, beyond chance.
    """

    head: str
    first: float
    second: float
    paired: Paired
    corrected_p_value: float
    is_regression: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class RunComparison:
    """Two evaluations side by side.

    Attributes:
        num_common: Videos that both could read.
        num_only_one: Videos that only one of them holds or could read.
        notes: What differs beside the model.
    """

    first: EvalSpec
    second: EvalSpec
    num_common: int
    num_only_one: int
    heads: tuple[HeadComparison, ...]
    notes: tuple[str, ...]

    @property
    def is_regression(self) -> bool:
        """Whether any head is worse, beyond chance."""
        return any(head.is_regression for head in self.heads)


def compare_runs(first_dir: Path, second_dir: Path) -> RunComparison:
    """Compare two run folders of `vbench eval`.

    Raises:
        UsageError: One is no evaluation, or they share no video with the same label.
    """
    first, second = read_spec(first_dir), read_spec(second_dir)
    pairs, num_all = _common(read_videos(first_dir)[0], read_videos(second_dir)[0])
    if first.dataset != second.dataset:
        raise UsageError(f"the evaluations are on {first.dataset} and {second.dataset}")
    if not pairs:
        raise UsageError(f"no video was read in both {first_dir} and {second_dir}")
    if pairs[0][0].target is not None:
        raise UsageError("only accuracies are compared, not squared errors")
    ours, theirs = [a for a, _ in pairs], [b for _, b in pairs]
    return RunComparison(
        first=first,
        second=second,
        num_common=len(pairs),
        num_only_one=num_all - len(pairs),
        heads=tuple(_compare_heads(ours, theirs)),
        notes=tuple(_notes(first, second)),
    )


def _common(
    first: Sequence[VideoRecord], second: Sequence[VideoRecord]
) -> tuple[list[tuple[VideoRecord, VideoRecord]], int]:
    """Videos that both could read, by key, and how many there are in all.

    Raises:
        UsageError: A video has another label in the other evaluation.
    """
    read = {record.key: record for record in second if record.status == "ok"}
    pairs = [
        (record, read[record.key])
        for record in sorted(first, key=lambda record: record.key)
        if record.status == "ok" and record.key in read
    ]
    for ours, theirs in pairs:
        if ours.labels != theirs.labels:
            raise UsageError(
                f"{ours.key} has the label {ours.labels} in one, in the other: {theirs.labels}"
            )
    return pairs, len({record.key for record in (*first, *second)})


def _compare_heads(
    ours: Sequence[VideoRecord], theirs: Sequence[VideoRecord]
) -> list[HeadComparison]:
    heads = sorted(ours[0].heads, key=lambda head: (head != ACTION, head))
    groups = metrics.groups_of(ours)
    right = {
        head: [metrics.hits(records, metrics.is_top(head, 1)) for records in (ours, theirs)]
        for head in heads
    }
    found = {head: comparison.paired(*right[head], groups=groups) for head in heads}
    corrected = comparison.holm([found[head].p_value for head in heads])
    return [
        HeadComparison(
            head=head,
            first=float(right[head][0].mean()),
            second=float(right[head][1].mean()),
            paired=found[head],
            corrected_p_value=p_value,
            is_regression=_is_worse(found[head], p_value, has_groups=groups is not None),
        )
        for head, p_value in zip(heads, corrected, strict=True)
    ]


def _is_worse(found: Paired, p_value: float, *, has_groups: bool) -> bool:
    """McNemar's test takes videos as independent; where they are not, the interval decides."""
    if has_groups:
        return found.interval.high < 0
    return found.difference < 0 and p_value < SIGNIFICANCE


def _notes(first: EvalSpec, second: EvalSpec) -> list[str]:
    words = {
        "checkpoint": (first.checkpoint, second.checkpoint),
        "protocol": (str(first.protocol), str(second.protocol)),
        "precision": (first.precision, second.precision),
        "device": (first.device, second.device),
        "subset": (first.subset_sha256[:12], second.subset_sha256[:12]),
        "list": (first.list_sha256[:12], second.list_sha256[:12]),
    }
    return [f"{name} differs: {a}; {b}" for name, (a, b) in words.items() if a != b]
