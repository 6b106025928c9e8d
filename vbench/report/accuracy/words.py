"""The few sentences of an accuracy report, and what to know before trusting it."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from vbench.core.evaluations import Score
from vbench.core.units import plain, scale_for
from vbench.report.accuracy.found import Evaluation, conditions, metric_name
from vbench.report.accuracy.tables import interval_words, ranked, shown
from vbench.report.checks import Flag

_MOST: Final = 4


def sentences(found: Sequence[Evaluation]) -> list[str]:
    """A sentence for each of the first datasets and heads: the best, what it costs, the next."""
    pairs = ranked((one, score) for one in found for score in one.main_scores())
    groups = groupby(pairs, key=lambda pair: (pair[0].dataset, pair[1].head, pair[1].metric))
    said = [_sentence(list(members), conditions(found)) for _, members in groups]
    return said[:_MOST] or ["No video could be read."]


def _sentence(members: Sequence[tuple[Evaluation, Score]], controls: Sequence[str]) -> str:
    one, score = members[0]
    said = f"{one.dataset}: {_reached(one, score)}"
    if score.metric != "mse":
        said += f" (95 %: {interval_words(score)}; {score.num_videos:,} videos"
        if score.baseline is not None:
            said += f"; baseline {shown(score.metric, score.baseline)}"
        said += ")"
    taken = [(name, one.under(name, score)) for name in controls]
    under = [f"{shown(score.metric, other.value)} {plain(name)}" for name, other in taken if other]
    said += f", {', '.join(under)}" if under else ""
    if len(members) > 1:
        said += f"; next {_reached(*members[1])}"
    return f"{said}."


def _reached(one: Evaluation, score: Score) -> str:
    said = f"{one.model} reaches {shown(score.metric, score.value)} {metric_name(score.metric)}"
    if len({other.head for other in one.main_scores()}) > 1:
        said += f" of the {plain(score.head)}"
    if one.macs is None:
        return said
    scale = scale_for("", [one.macs])
    return f"{said} at {scale.number(one.macs)} {scale.unit}MACs a video"


def flags(found: Sequence[Evaluation]) -> list[Flag]:
    """Warnings of the evaluations, those alike together; other videos, devices, missing costs."""
    return [*_warnings(found), *_other_videos(found), *_of_costs(found)]


def _warnings(found: Sequence[Evaluation]) -> Iterator[Flag]:
    raised: dict[str, list[str]] = defaultdict(list)
    for one in found:
        for warning in one.summary.warnings:
            raised[plain(warning)].append(f"{one.model} on {one.dataset}")
    for warning, named in raised.items():
        topic, _, rest = warning.partition(": ")
        topic, rest = (topic, rest) if rest else ("evaluation", warning)
        who = ", ".join(dict.fromkeys(named))
        yield Flag(topic=topic, text=f"{rest}: {who}")


def _other_videos(found: Sequence[Evaluation]) -> Iterator[Flag]:
    subsets: dict[str, set[str]] = defaultdict(set)
    for one in found:
        subsets[one.dataset].add(one.summary.spec.subset_sha256)
    for dataset, digests in subsets.items():
        if len(digests) > 1:
            yield Flag(
                topic="other videos",
                text=f"the evaluations on {dataset} are of {len(digests)} different subsets; "
                "`vbench compare` takes the videos that two have in common",
            )


def _of_costs(found: Sequence[Evaluation]) -> Iterator[Flag]:
    timed = [
        one
        for one in found
        if one.summary.cost and one.summary.cost.latency_per_video_s is not None
    ]
    devices = sorted({one.device for one in timed})
    if len(devices) > 1:
        yield Flag(
            topic="several devices",
            text=f"times and energies are not comparable between them: {', '.join(devices)}",
        )
    without = [f"{one.model} on {one.dataset}" for one in found if one.macs is None]
    if without:
        yield Flag(topic="no cost", text=f"not in the figure: {', '.join(dict.fromkeys(without))}")
