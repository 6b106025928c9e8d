"""`vbench compare`: whether one evaluation is worse than another, beyond chance."""

from pathlib import Path
from typing import Annotated

import typer

from vbench.cli import console
from vbench.cli.options import AsJson
from vbench.core.errors import RegressionError


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a `vbench eval`.")],
    second: Annotated[Path, typer.Argument(metavar="RUN", help="Another, of the same videos.")],
    json: AsJson = False,
) -> None:
    """Compare two evaluations video by video; exit code 4 if the second is worse.

    Example: vbench compare results/eval-old results/eval-new
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
