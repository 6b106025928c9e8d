"""Timed kernels as a report: what ours gain, how far the floor is, every form at every size."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import pandas as pd

from vbench.core import stats
from vbench.core.bench import Contender, KernelRecord, ratio
from vbench.core.units import number, plain, times, with_unit
from vbench.report import figures
from vbench.report.checks import Flag
from vbench.report.content import Content
from vbench.report.document import Report, write
from vbench.report.plots import PLOTS
from vbench.report.provenance import environments_table
from vbench.report.tables import Cell, Table, from_headers, integer, text

TITLE: Final = "Kernels beside their references and floors"
PLOT: Final = "kernel_times"
_HEADERS: Final = (
    *("kernel", "batch", "tokens", "threads", "form", "role", "median (ms)", "samples"),
    *("times faster than reference", "times floor", "first call (ms)"),
)
_BUSY: Final = 0.5
_CLOCKS: Final = {
    "cpu": "CPU time on one thread",
    "wall": "wall time on several",
    "cuda": "CUDA events",
}


def render(
    records: Sequence[KernelRecord], out_dir: Path, *, commands: Sequence[str] = ()
) -> Report:
    """Write the report.

    Raises:
        StoreError: Something cannot be written.
    """
    frame = to_frame(records)
    content = Content(
        title=TITLE,
        sentences=tuple(sentences(records)),
        flags=tuple(_flags(records)),
        figures=(figures.render(PLOTS[PLOT], frame),),
        tables=(forms_table(records),),
        cases=from_headers("cases", "", (), ()),
        environment=environments_table({record.environment: {"bench"} for record in records}),
        runs=(),
        commands=tuple(commands),
    )
    return write(content, out_dir)


def to_frame(records: Iterable[KernelRecord]) -> pd.DataFrame:
    """A row a form, its median in seconds and the interval of that."""
    rows = []
    for record in records:
        for one in record.contenders:
            low, high = stats.median_interval(one.seconds) or (None, None)
            rows.append(
                {
                    "kernel": record.kernel,
                    "batch_size": record.sizes["batch"],
                    "num_tokens": record.sizes["num_tokens"],
                    "clock": record.clock,
                    "place": plain(record.environment.device_name),
                    "num_threads": record.num_threads,
                    "form": plain(one.name),
                    "role": one.role,
                    "median_s": stats.median(one.seconds),
                    "low_s": low,
                    "high_s": high,
                }
            )
    return pd.DataFrame(rows)


def sentences(records: Sequence[KernelRecord]) -> list[str]:
    """What the best of ours gains and lacks at a kernel's largest size, by number of threads."""
    largest: dict[tuple[str, int], KernelRecord] = {}
    for record in records:
        key = (record.kernel, record.num_threads)
        kept = largest.get(key)
        if kept is None or _work(record) > _work(kept):
            largest[key] = record
    return [sentence for record in largest.values() if (sentence := _sentence(record))]


def _work(record: KernelRecord) -> int:
    return record.sizes["batch"] * record.sizes["num_tokens"]


def _sentence(record: KernelRecord) -> str | None:
    best, floor = record.best(), record.floor()
    if best is None:
        return None
    said = f"{record.kernel.replace('_', ' ')}, {_size(record)}: {best.name} takes {_shown(best)}"
    for rival in (*record.of_role("reference"), *record.of_role("peer")):
        gain = ratio(rival, best)
        said += f", {times(gain)} times faster than {rival.name}" if gain else ""
    above = ratio(best, floor) if floor else None
    return said + (f", {times(above)} times its floor ({floor.name})" if above and floor else "")


def _size(record: KernelRecord) -> str:
    size = f"batch {record.sizes['batch']}, {record.sizes['num_tokens']} tokens"
    return size if record.num_threads == 1 else f"{size}, {record.num_threads} threads"


def _shown(one: Contender) -> str:
    return with_unit(stats.median(one.seconds), "s")


def _flags(records: Sequence[KernelRecord]) -> list[Flag]:
    flags = []
    loads = [r.environment.load_average for r in records if r.environment.load_average is not None]
    if loads and max(loads) > _BUSY:
        flags.append(
            Flag(
                topic="busy machine",
                text=f"load average {max(loads):.1f} at the start; forms were timed in turns, so "
                "their ratios hold better than their times",
            )
        )
    counts = {len(one.seconds) for record in records for one in record.contenders}
    if len(counts) > 1:
        flags.append(
            Flag(
                topic="fewer samples",
                text="slow forms took part in every fifth or tenth round: "
                f"{min(counts)} samples, others {max(counts)}",
            )
        )
    return flags


def forms_table(records: Sequence[KernelRecord]) -> Table:
    """Every form at every size."""
    clocks = ", ".join(dict.fromkeys(_CLOCKS[record.clock] for record in records))
    return from_headers(
        "forms",
        "Every form",
        _HEADERS,
        [_row(record, one) for record in records for one in record.contenders],
        note=f"Clock: {clocks}. A ratio is the median of the rounds' own",
    )


def _row(record: KernelRecord, one: Contender) -> tuple[Cell, ...]:
    floor = record.floor()
    return (
        text(record.kernel),
        integer(record.sizes["batch"]),
        integer(record.sizes["num_tokens"]),
        integer(record.num_threads),
        text(plain(one.name)),
        text(one.role),
        _number(1e3 * stats.median(one.seconds)),
        integer(len(one.seconds)),
        _number(ratio(record.of_role("reference")[0], one)),
        _number(ratio(one, floor) if floor else None),
        _number(1e3 * one.first_call_s),
    )


def _number(value: float | None) -> Cell:
    return Cell("") if value is None else Cell(number(value), value)
