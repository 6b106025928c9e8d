"""`vbench compare`: whether the second of two runs is worse, beyond chance."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vbench.cli import console
from vbench.cli.options import AsJson
from vbench.core import evaluations, store, units
from vbench.core.errors import RegressionError, UsageError
from vbench.core.metrics import unit_of

if TYPE_CHECKING:
    from vbench.report.regressions import Change, SweepComparison


def compare(
    first: Annotated[
        Path, typer.Argument(metavar="BEFORE", help="Folder of a `vbench eval` or `vbench sweep`.")
    ],
    second: Annotated[
        Path, typer.Argument(metavar="AFTER", help="Another, of the same videos or cases.")
    ],
    threshold: Annotated[
        str | None,
        typer.Option(
            "--threshold",
            metavar="P%",
            help="Of sweeps: what is worse by less is no regression. Default: 5%.",
        ),
    ] = None,
    across_hardware: Annotated[
        bool,
        typer.Option("--across-hardware", help="Of sweeps: judge two devices' timings too."),
    ] = False,
    show_all: Annotated[
        bool, typer.Option("--all", help="Of sweeps: list also what did not change.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Compare two evaluations video by video, or two sweeps case by case.

    Exit code 4 if the second is worse beyond chance; of sweeps also beyond the threshold, or if a
    case no longer finishes, or if what is counted differs at all.

    Example: vbench compare results/before results/after --threshold 10%
    """
    if is_evaluation(first) != is_evaluation(second):
        kinds = ("a sweep", "an evaluation")
        shown = (f"{run} is {kinds[is_evaluation(run)]}" for run in (first, second))
        raise UsageError(", ".join(shown), hint="compare two of one kind")
    if not is_evaluation(first):
        limit = None if threshold is None else percentage(threshold)
        compare_sweeps(first, second, limit, across_hardware, show_all=show_all, json=json)
        return
    if threshold is not None or across_hardware or show_all:
        raise UsageError("--threshold, --across-hardware and --all are for sweeps, not evaluations")
    compare_evaluations(first, second, json=json)


def is_evaluation(run_dir: Path) -> bool:
    """Whether the folder is of `vbench eval`, which may hold a cost record as a sweep does.

    Raises:
        UsageError: It is of neither.
    """
    if (run_dir / evaluations.EVALUATION_FILE).exists():
        return True
    if (run_dir / store.RECORDS_FILE).exists():
        return False
    raise UsageError(
        f"neither an evaluation nor a sweep: {run_dir}",
        hint="`vbench eval` and `vbench sweep` write such folders",
    )


def percentage(text: str) -> float:
    """The share that a text such as ``5%`` stands for.

    Raises:
        UsageError: It is none.
    """
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not (text.endswith("%") and 0 <= value < float("inf")):
        raise UsageError(f"not a percentage: {text}", hint="such as 5%")
    return value


def compare_evaluations(first: Path, second: Path, *, json: bool) -> None:
    """Print the accuracies of two evaluations side by side.

    Raises:
        RegressionError: The second is worse, beyond chance.
    """
    from vbench.accuracy.compare import compare_runs

    found = compare_runs(first, second)
    if json:
        console.data({"is_regression": found.is_regression, "comparison": found})
    else:
        rows = []
        for head in found.heads:
            pair = head.paired
            rows.append(
                (
                    head.head,
                    pair.num_videos,
                    f"{100 * head.first:.2f} %",
                    f"{100 * head.second:.2f} %",
                    f"{100 * pair.difference:+.2f}",
                    f"{100 * pair.interval.low:+.2f} to {100 * pair.interval.high:+.2f}",
                    pair.only_first,
                    pair.only_second,
                    f"{head.corrected_p_value:.3g}",
                    f"{pair.mid_p_value:.3g}",
                    f"{100 * pair.detectable:.2f}",
                )
            )
        columns = (
            "head", "n", "first", "second", "points", "95 % interval", "only first right",
            "only second right", "p (McNemar, Holm)", "mid-p", "found at 80 % power",
        )  # fmt: skip
        console.table(f"{found.first.model} and {found.second.model}", columns, rows)
        for note in found.notes:
            console.note(note)
        if found.num_only_one:
            console.note(f"left out: {found.num_only_one} videos that only one could read")
    if found.is_regression:
        worse = ", ".join(head.head for head in found.heads if head.is_regression)
        raise RegressionError(f"{second} is worse than {first}, beyond chance: {worse}")


def compare_sweeps(
    first: Path,
    second: Path,
    threshold: float | None,
    across_hardware: bool,
    *,
    show_all: bool,
    json: bool,
) -> None:
    """Print what changed between two sweeps.

    Raises:
        RegressionError: Something became worse.
    """
    from vbench.measure.probes import PROBES
    from vbench.report import regressions

    found = regressions.compare_sweeps(
        first,
        second,
        metrics={metric.name: metric for name in PROBES for metric in PROBES[name].metrics},
        threshold=regressions.THRESHOLD if threshold is None else threshold,
        across_hardware=across_hardware,
    )
    if json:
        console.data({"is_regression": bool(found.regressions), "comparison": found})
    else:
        print_sweeps(found, show_all=show_all)
    if found.regressions:
        worst = found.regressions[0]
        what = getattr(worst, "metric", None) or getattr(worst, "after", "")
        raise RegressionError(
            f"{second} is worse than {first} in {len(found.regressions)} comparisons, the first: "
            f"{worst.case}: {what}"
        )


def print_sweeps(found: "SweepComparison", *, show_all: bool) -> None:
    """The table of changes to stdout, what explains it to stderr."""
    rows: list[tuple[object, ...]] = [
        (one.verdict, one.case, "status", "", one.before, one.after, "", "", "", one.error)
        for one in found.endings
    ]
    rows += [row_of(one) for one in found.changes if show_all or one.verdict != "equal"]
    columns = (
        "verdict", "case", "metric", "kind", "before", "after", "ratio", "95 % interval", "samples",
        "error",
    )  # fmt: skip
    console.table(f"beyond {100 * found.threshold:g} %", columns, rows)
    num_equal = sum(one.verdict == "equal" for one in found.changes)
    hidden = "" if show_all or not num_equal else " (--all lists them)"
    console.note(
        f"{found.num_common} cases in both: {len(found.changes)} comparisons, {num_equal} of them "
        f"equal{hidden}; {found.num_failed_both} cases finished in neither"
    )
    for words, cases in (("before", found.only_before), ("after", found.only_after)):
        for case in cases:
            console.note(f"only {words}: {case}")
    for note in found.notes:
        console.note(note)


def row_of(one: "Change") -> tuple[object, ...]:
    """A row of the table; both values in one scale."""
    scale = units.scale_for(unit_of(one.metric), [one.before, one.after])
    known = one.low is not None and one.high is not None
    return (
        one.verdict,
        one.case,
        one.metric,
        one.kind,
        scale.with_unit(one.before),
        scale.with_unit(one.after),
        "" if one.ratio is None else f"{one.ratio:.3f}",
        f"{one.low:.3f} to {one.high:.3f}" if known else "",
        f"{one.num_before}, {one.num_after}",
        "",
    )
