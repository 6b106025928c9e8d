"""An evaluation as one document: counts, accuracies with their intervals, times, warnings."""

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from msgspec import Struct

import model_zoo
from vbench.accuracy import comparison, metrics, published, temporal
from vbench.accuracy.datasets import DATASETS
from vbench.accuracy.evaluation import EvalSpec
from vbench.accuracy.label_order import OrderCheck, check_order
from vbench.accuracy.label_space import NO_OUTPUT
from vbench.accuracy.metrics import Listed, Score
from vbench.accuracy.motion import expected
from vbench.accuracy.motion.expected import Judgement
from vbench.accuracy.types import ACTION, SCHEMA_VERSION, VideoRecord
from vbench.core.evaluations import VideoCost

NUM_NAMED: Final = 1000  # failures, and damaged videos, that are named
LEAST_VIDEOS: Final = 50  # for the check of the order of classes


class Times(Struct, frozen=True, kw_only=True):
    """Mean seconds a video of what each part took.

    Attributes:
        decode_s: Reading, resizing, cropping; of all decoding processes together.
        wait_s: The model waited for videos.
        model_s: Forward passes.
        bottleneck: What a faster one of would help.
    """

    decode_s: float
    wait_s: float
    model_s: float
    bottleneck: Literal["decoding", "the model"]


class Published(Struct, frozen=True, kw_only=True):
    """The printed top-1 of the same model under the same protocol, and how they compare."""

    printed: str
    source: str
    num_published: int
    result: comparison.Equivalence


class Summary(Struct, frozen=True, kw_only=True):
    """What an evaluation found; everything is computed from its records.

    Attributes:
        num_failed: Videos that could not be read.
        num_fragile: Videos decided by less than rounding may change.
        failures: The first of them: key and reason.
        num_damaged: Videos that were read and scored, but are not whole.
        damaged: The first of them: key and signs.
        family: The model's architecture, as the zoo titles it.
        evaluated_at_utc: When the last video was evaluated, to a second.
        cost: Of a video; None where it was not to be measured.
        judgements: Scores beside those of the weights that come with vbench.
    """

    schema_version: int = SCHEMA_VERSION
    eval_id: str
    spec: EvalSpec
    num_videos: int
    num_decoded: int
    num_failed: int
    num_absent: int
    num_fragile: int
    failures: tuple[tuple[str, str], ...]
    failure_reasons: dict[str, int]
    scores: tuple[Score, ...]
    label_order: OrderCheck | None
    times: Times | None
    published: tuple[Published, ...]
    warnings: tuple[str, ...]
    num_damaged: int = 0
    damaged: tuple[tuple[str, str], ...] = ()
    family: str = ""
    evaluated_at_utc: str | None = None
    cost: VideoCost | None = None
    judgements: tuple[Judgement, ...] = ()


def summarise(
    spec: EvalSpec,
    records: Sequence[VideoRecord],
    *,
    evaluated_at_utc: str | None = None,
    cost: VideoCost | None = None,
) -> Summary:
    """Everything that a reader wants of an evaluation, in whatever order it was done."""
    records = sorted(records, key=lambda record: record.key)
    failed = [record for record in records if record.status != "ok"]
    damaged = [(record.key, record.damage) for record in records if record.damage]
    listed = Listed(num_videos=spec.num_listed, by_class=spec.num_listed_by_class)
    found = metrics.scores(
        records,
        listed=listed if spec.is_random_subset else None,
        middle_view=spec.protocol.middle_view,
    )
    found += temporal.scores(records, spec.reversals)
    order = _label_order(spec, records)
    reasons = Counter((record.error or "").partition(":")[0] for record in failed)
    return Summary(
        eval_id=spec.eval_id,
        spec=spec,
        num_videos=len(records) + spec.num_absent,
        num_decoded=len(records) - len(failed),
        num_failed=len(failed),
        num_absent=spec.num_absent,
        num_fragile=metrics.num_fragile(records),
        failures=tuple((record.key, record.error or "") for record in failed[:NUM_NAMED]),
        failure_reasons=dict(reasons),
        scores=tuple(found),
        label_order=order,
        times=_times(records),
        published=tuple(_published(spec, found)),
        warnings=tuple(_warnings(spec, failed, len(damaged), order)),
        num_damaged=len(damaged),
        damaged=tuple(damaged[:NUM_NAMED]),
        family=_family(spec.model),
        evaluated_at_utc=evaluated_at_utc,
        cost=cost,
        judgements=tuple(_judgements(spec, found)),
    )


def _judgements(spec: EvalSpec, found: Sequence[Score]) -> list[Judgement]:
    """Beside the shipped weights' own scores, where a whole generated list was scored."""
    if spec.checkpoint is None or spec.subset != "all":
        return []
    return expected.judge(spec.model, spec.list_sha256, found)


def _family(model: str) -> str:
    """Title of the model's architecture; empty for a model that is not here."""
    try:
        return model_zoo.model_entry(model).title
    except model_zoo.ZooError:
        return ""


def _label_order(spec: EvalSpec, records: Sequence[VideoRecord]) -> OrderCheck | None:
    """The check of the order of classes, where there are videos enough."""
    decoded = [record for record in records if record.status == "ok" and len(record.heads) == 1]
    if len(decoded) < LEAST_VIDEOS or len(spec.heads) != 1:
        return None
    ((head, num_classes),) = spec.heads.items()
    labels = np.array([record.labels[head] for record in decoded])
    answers = np.array([record.heads[head].top[0] for record in decoded])
    return check_order(labels, answers, num_classes=num_classes)


def _times(records: Sequence[VideoRecord]) -> Times | None:
    timed = [r for r in records if r.model_s is not None]
    if not timed:
        return None
    wait_s = float(np.mean([record.wait_s or 0.0 for record in records]))
    model_s = float(np.mean([record.model_s or 0.0 for record in timed]))
    return Times(
        decode_s=float(np.mean([record.decode_s or 0.0 for record in records])),
        wait_s=wait_s,
        model_s=model_s,
        bottleneck="decoding" if wait_s > model_s else "the model",
    )


def _published(spec: EvalSpec, found: Sequence[Score]) -> list[Published]:
    """Printed top-1 of this variant under this protocol; none for a custom one."""
    heads = {score.head for score in found}
    head = ACTION if ACTION in heads else next(iter(heads), None)
    top1 = next(
        (s for s in found if (s.metric, s.videos, s.head) == ("top1", "decoded", head)), None
    )
    if top1 is None or spec.checkpoint is None:
        return []
    num_published = DATASETS[spec.dataset].num_videos.get(spec.split)
    rows = published.rows(spec.model, spec.dataset, top1.head, spec.protocol)
    return [
        Published(
            printed=f"{row.printed} %",
            source=f"{row.source} {row.location}".strip(),
            num_published=num_published,
            result=comparison.equivalence(
                accuracy=top1.value,
                num_videos=top1.num_videos,
                published=row.value / 100,
                num_published=num_published,
            ),
        )
        for row in rows
        if num_published
    ]


def _warnings(
    spec: EvalSpec, failed: Sequence[VideoRecord], num_damaged: int, order: OrderCheck | None
) -> list[str]:
    found = []
    if not spec.protocol.is_preset:
        found.append("custom protocol: not comparable with published numbers")
    if spec.checkpoint is None:
        found.append("random weights: the accuracy is that of chance")
    if spec.num_absent:
        found.append(f"{spec.num_absent} videos of the subset are not in this copy")
    if failed:
        found.append(f"{len(failed)} videos could not be read; see failures")
    if num_damaged:
        found.append(f"{num_damaged} videos were read and scored but are damaged; see damaged")
    lacking = sum(places.count(NO_OUTPUT) for places in spec.columns.values())
    if lacking:
        found.append(f"{lacking} classes have no output of the model: their videos are errors")
    if order is not None and order.is_suspect:
        found.append(
            f"label order mismatch: top-1 is {100 * order.accuracy:.1f} %, but "
            f"{100 * order.matched:.1f} % under another order of the classes (shuffled answers: "
            f"{100 * order.by_chance:.1f} %); check --label-space or give --class-names"
        )
    return found
