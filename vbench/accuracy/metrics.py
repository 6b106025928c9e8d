"""Records of videos -> accuracies, each with its interval."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vbench.accuracy import intervals
from vbench.accuracy.intervals import Interval
from vbench.accuracy.types import ACTION, NOUN_BASE, NUM_TOP, HeadScore, VideoRecord

FRAGILE_MARGIN: Final = 1e-3  # a near-tie that another GPU or precision may decide otherwise


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """One number on one set of videos.

    Attributes:
        metric: ``top1``, ``top5``, ``mean_class``, ``pair`` (the class or its reversal),
            ``direction`` (which of the two), all shares, 0 to 1; or ``mse``.
        head: Which classifier, e.g. ``verb``; ``class`` where there is one.
        videos: Which of them: ``decoded``, ``failures as errors``, or the name of a slice.
        condition: What was done to the clips before the model saw them, e.g. ``shuffled``; empty
            for clips as they are.
        interval: For new videos of the same kind.
        list_interval: For the score on the whole list, where a random subset was evaluated.
        baseline: What always answering the commonest class (or mean value) would give; of
            ``direction``, what any model gives that does not see the order of frames: one half.
        p_value: Of a direction as far from one half as this, if the order were not seen.
    """

    metric: str
    head: str
    videos: str
    num_videos: int
    value: float
    interval: Interval
    list_interval: Interval | None = None
    baseline: float | None = None
    condition: str = ""
    p_value: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Listed:
    """The whole list, of which a random subset was evaluated.

    Attributes:
        num_videos: On the list.
        by_class: The same of each class, where the subset was drawn class by class; else empty.
    """

    num_videos: int
    by_class: tuple[int, ...] = ()


def scores(
    records: Sequence[VideoRecord], *, listed: Listed | None = None, middle_view: int | None = None
) -> list[Score]:
    """Every accuracy of an evaluation.

    Args:
        records: One a video, failures among them.
        listed: The whole list, of which these are a random subset.
        middle_view: The view that one clip and one crop would be, for the single-view accuracy.
    """
    decoded = [record for record in records if record.status == "ok"]
    if not decoded:
        return []
    if decoded[0].target is not None:
        return [squared_error(decoded)]
    found: list[Score] = []
    for head in sorted(decoded[0].heads, key=_head_order):
        found += _head_scores(records, decoded, head, listed, middle_view)
    return found


def _head_order(head: str) -> tuple[int, str]:
    return ({ACTION: 0, "verb": 1, "noun": 2}.get(head, 0), head)


def _head_scores(
    records: Sequence[VideoRecord],
    decoded: Sequence[VideoRecord],
    head: str,
    listed: Listed | None,
    middle_view: int | None,
) -> list[Score]:
    found = [
        share(decoded, head, "top1", is_top(head, 1), listed=listed),
        share(decoded, head, "top5", is_top(head, NUM_TOP), listed=listed),
    ]
    if head != ACTION:
        found.append(mean_class(decoded, head))
    if middle_view is not None and len(decoded[0].heads[head].view_top) > 1:
        found.append(share(decoded, head, "top1_one_view", _is_view(head, middle_view)))
    if len(decoded) < len(records):
        found.append(share(records, head, "top1", is_top(head, 1), videos="failures as errors"))
    for name in sorted({name for record in decoded for name in record.slices}):
        part = [record for record in decoded if name in record.slices]
        found.append(share(part, head, "top1", is_top(head, 1), videos=name))
    return found


def label_of(record: VideoRecord, head: str) -> int:
    """The class that `head` should give."""
    if head == ACTION:
        return record.labels["verb"] * NOUN_BASE + record.labels["noun"]
    return record.labels[head]


Judge = Callable[[VideoRecord], bool]


def is_top(head: str, num_top: int) -> Judge:
    """Whether the label is among the best classes; a video that failed has it nowhere."""

    def judge(record: VideoRecord) -> bool:
        return record.status == "ok" and record.heads[head].label_rank <= num_top

    return judge


def _is_view(head: str, view: int) -> Judge:
    return lambda record: record.heads[head].view_top[view] == label_of(record, head)


def hits(records: Iterable[VideoRecord], judge: Judge) -> NDArray[np.bool_]:
    """What `judge` says of each video."""
    return np.fromiter((judge(record) for record in records), dtype=np.bool_)


def groups_of(records: Sequence[VideoRecord]) -> list[str] | None:
    """Clusters of dependent videos; None where every video stands alone."""
    names = [record.key if record.group is None else record.group for record in records]
    return names if len(set(names)) < len(names) else None


def share(
    records: Sequence[VideoRecord],
    head: str,
    metric: str,
    judge: Judge,
    *,
    videos: str = "decoded",
    listed: Listed | None = None,
) -> Score:
    """The share of videos that are right: Wilson, or a bootstrap over groups of videos."""
    right = hits(records, judge)
    groups = groups_of(records)
    if groups is None:
        interval = intervals.wilson(int(right.sum()), len(right))
    else:
        interval = intervals.bootstrap(right, np.ones(len(right)), groups=groups)
    on_list = None
    if listed is not None and listed.num_videos > len(right) and groups is None:
        on_list = _on_list(interval, records, head, right, listed)
    return Score(
        metric=metric,
        head=head,
        videos=videos,
        num_videos=len(right),
        value=float(right.mean()),
        interval=interval,
        list_interval=on_list,
        baseline=commonest_share(records, head) if metric == "top1" else None,
    )


def _on_list(
    interval: Interval,
    records: Sequence[VideoRecord],
    head: str,
    right: NDArray[np.bool_],
    listed: Listed,
) -> Interval:
    if not listed.by_class:
        return intervals.finite_population(
            interval, num_videos=len(right), num_listed=listed.num_videos
        )
    by_class = {name: count for name, count in enumerate(listed.by_class) if count}
    return intervals.stratified(right, [label_of(record, head) for record in records], by_class)


def mean_class(records: Sequence[VideoRecord], head: str) -> Score:
    """Mean over classes of the share of each class's videos that are right."""
    right = hits(records, is_top(head, 1))
    names, index = np.unique([label_of(record, head) for record in records], return_inverse=True)
    members = np.zeros((len(records), len(names)))
    members[np.arange(len(records)), index] = 1
    groups = groups_of(records)
    interval = intervals.bootstrap(
        members * right[:, None],
        members,
        groups=groups,
        strata=index.tolist() if groups is None else None,
    )
    return Score(
        metric="mean_class",
        head=head,
        videos="decoded",
        num_videos=len(records),
        value=intervals.ratio_mean(members * right[:, None], members),
        interval=interval,
        baseline=1 / len(names),
    )


def squared_error(records: Sequence[VideoRecord]) -> Score:
    """Mean squared error of the predicted value."""
    targets = np.array([record.target for record in records], dtype=np.float64)
    values = np.array([record.value for record in records], dtype=np.float64)
    errors = (values - targets) ** 2
    return Score(
        metric="mse",
        head="value",
        videos="decoded",
        num_videos=len(records),
        value=float(errors.mean()),
        interval=intervals.bootstrap(errors, np.ones_like(errors), groups=groups_of(records)),
        baseline=float(np.mean((targets - targets.mean()) ** 2)),
    )


def commonest_share(records: Sequence[VideoRecord], head: str) -> float:
    """Share of the commonest label: what a model that sees nothing can reach."""
    counts = Counter(label_of(record, head) for record in records)
    return max(counts.values()) / len(records)


def num_fragile(records: Iterable[VideoRecord]) -> int:
    """Videos whose best class wins by so little that rounding may decide."""
    return sum(
        any(score.margin < FRAGILE_MARGIN for score in record.heads.values())
        for record in records
        if record.status == "ok"
    )


def best_of(score: HeadScore) -> int:
    """The class that a head answers."""
    return score.top[0]
