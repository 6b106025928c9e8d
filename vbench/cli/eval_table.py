"""What `vbench eval` prints: its plan, its table, and what must be known with the numbers."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from vbench.cli import console, eval_cost
from vbench.core.units import with_unit

if TYPE_CHECKING:
    from vbench.accuracy.planning import Plan
    from vbench.accuracy.summary import Summary

NUM_SHOWN: Final = 10  # failures on the screen


def print_plan(plan: "Plan", *, json: bool) -> None:
    """What would be done, and the half-width and the difference that it would resolve."""
    from vbench.accuracy import comparison, intervals

    spec, n = plan.spec, len(plan.videos)
    half = intervals.wilson(round(0.8 * n), n).half_width
    facts = {
        "dataset": f"{spec.dataset} {spec.split}",
        "videos": n,
        "videos of the list": spec.num_listed,
        "videos not in this copy": spec.num_absent,
        "protocol": str(spec.protocol),
        "views": round(n * plan.views_per_video),
        "label space": spec.label_space,
        "half-width at 80 %, points": round(100 * half, 2),
        "difference of two models found, points": round(
            100 * comparison.detectable_difference(n, 0.1), 2
        ),
        "subset sha256": spec.subset_sha256,
    }
    if json:
        console.data({"spec": spec, "facts": facts})
    else:
        console.table("planned", ("fact", "value"), list(facts.items()))


def print_summary(summary: "Summary") -> None:
    """The table of accuracies to stdout, what explains it to stderr."""
    rows = []
    for score in summary.scores:
        scale, unit = (1, "") if score.metric == "mse" else (100, " %")
        interval, whole = score.interval, score.list_interval
        rows.append(
            (
                score.head,
                score.metric.replace("_", " "),
                score.videos,
                score.condition or "as is",
                score.num_videos,
                f"{scale * score.value:.2f}{unit}",
                f"{scale * interval.low:.2f} to {scale * interval.high:.2f}",
                f"{scale * whole.low:.2f} to {scale * whole.high:.2f}" if whole else "",
                f"{scale * score.baseline:.2f}{unit}" if score.baseline is not None else "",
                "" if score.p_value is None else f"{score.p_value:.3g}",
                interval.method,
            )
        )
    columns = (
        "head", "metric", "videos", "clips", "n", "measured", "95 % interval", "of the whole list",
        "baseline", "p", "method",
    )  # fmt: skip
    spec = summary.spec
    console.table(f"{spec.model} on {spec.dataset} {spec.split}: {spec.protocol}", columns, rows)
    for line in notes(summary):
        console.note(line)


def _named(kind: str, videos: Sequence[tuple[str, str]]) -> list[str]:
    """The first of these videos with their reasons, and where the others are."""
    shown = [f"{kind}: {key}: {reason}" for key, reason in videos[:NUM_SHOWN]]
    more = len(videos) - NUM_SHOWN
    return [*shown, f"{kind}: {more} more in summary.json"] if more > 0 else shown


def notes(summary: "Summary") -> list[str]:
    """What must be known with the numbers."""
    spec, times = summary.spec, summary.times
    found = [f"warning: {text}" for text in summary.warnings]
    found += _named("unreadable", summary.failures) + _named("damaged", summary.damaged)
    found.append(
        f"list {spec.list_sha256[:12]} of {spec.num_listed}, subset {spec.subset} "
        f"{spec.subset_sha256[:12]}; near-ties: {summary.num_fragile}"
    )
    if times is not None:
        found.append(
            f"a video: decoding {with_unit(times.decode_s, 's')} of a process, waiting "
            f"{with_unit(times.wait_s, 's')}, model {with_unit(times.model_s, 's')}; "
            f"the bottleneck is {times.bottleneck}"
        )
    found += eval_cost.notes(summary.cost) if summary.cost is not None else []
    for other in summary.published:
        result = other.result
        low, high = 100 * result.interval.low, 100 * result.interval.high
        found.append(
            f"{result.verdict}: {other.printed} ({other.source}), difference "
            f"{100 * result.difference:+.2f} points, 95 % {low:+.2f} to {high:+.2f}, "
            f"margin {100 * result.margin:.1f}"
        )
    return found + [str(judgement) for judgement in summary.judgements]
