"""What a model owes to time: the direction of reversible classes, and scores under controls.

A model that does not see the order of frames gives a clip and its reversal the same answer, so it
tells the two apart in exactly one half of balanced clips, however well it knows what changes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import msgspec
from scipy import stats

from vbench.accuracy.metrics import Score, hits, is_top, share
from vbench.accuracy.types import VideoRecord

ORDER_BLIND = 0.5
Reversals = Mapping[str, Sequence[int]]


def scores(records: Sequence[VideoRecord], reversals: Reversals) -> list[Score]:
    """Pair and direction of every head with reversible classes, then its scores under controls."""
    decoded = [record for record in records if record.status == "ok"]
    found = []
    for head in reversals:
        turning = [r for r in decoded if r.heads[head].reversal_probability is not None]
        if turning:
            found += [_pair(turning, head, reversals[head]), *_directions(turning, head)]
    controls = decoded[0].controls if decoded else {}
    for control in controls:
        found += _under(control, decoded, reversals)
    return found


def _pair(records: Sequence[VideoRecord], head: str, reversal: Sequence[int]) -> Score:
    """The share of answers that are the class or its reversal."""

    def judge(record: VideoRecord) -> bool:
        label = record.labels[head]
        return record.heads[head].top[0] in (label, reversal[label])

    return share(records, head, "pair", judge)


def _directions(records: Sequence[VideoRecord], head: str) -> list[Score]:
    """The direction over all videos, then over each part of them that has a name."""
    found = [_direction(records, head)]
    for name in sorted({name for record in records for name in record.slices}):
        part = [record for record in records if name in record.slices]
        found.append(replace(_direction(part, head), videos=name))
    return found


def _direction(records: Sequence[VideoRecord], head: str) -> Score:
    """The share of videos whose class is held likelier than its reversal."""
    right = hits(records, lambda record: _is_forwards(record, head))
    test = stats.binomtest(int(right.sum()), len(right), ORDER_BLIND)
    plain = share(records, head, "direction", lambda record: _is_forwards(record, head))
    return replace(plain, baseline=ORDER_BLIND, p_value=float(test.pvalue))


def _is_forwards(record: VideoRecord, head: str) -> bool:
    score = record.heads[head]
    other = score.reversal_probability
    return other is not None and score.label_probability > other


def _under(control: str, records: Sequence[VideoRecord], reversals: Reversals) -> list[Score]:
    """Top-1 of every head, and the direction of those that have one, under a control."""
    seen = [
        msgspec.structs.replace(record, heads=record.controls[control])
        for record in records
        if control in record.controls
    ]
    found = []
    for head in seen[0].heads:
        found.append(share(seen, head, "top1", is_top(head, 1)))
        turning = [r for r in seen if r.heads[head].reversal_probability is not None]
        if head in reversals and turning:
            found.append(_direction(turning, head))
    return [replace(score, condition=control) for score in found]
