"""The ledger as tables: unexplained rows first, then the explained, then the equal ones."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from vbench.core.units import number, plain
from vbench.report.audit.ledger import Entry
from vbench.report.audit.verdicts import Reason
from vbench.report.tables import EMPTY, Cell, Column, Table, integer, text

_COLUMNS: Final = (
    Column(key="model", header="model"),
    Column(key="printed_name", header="the source's name"),
    Column(key="source", header="source"),
    Column(key="quantity", header="quantity"),
    Column(key="input", header="frames x pixels"),
    Column(key="views", header="clips x crops"),
    Column(key="published", header="printed", group="published"),
    Column(key="called", header="called", group="published"),
    Column(key="counted", header="counted", group="counted"),
    Column(key="ratio", header="printed / counted", group="counted"),
    Column(key="verdict", header="verdict"),
    Column(key="arithmetic", header="arithmetic"),
)
_QUANTITIES: Final = {
    "macs": "operations of a clip",
    "macs_per_video": "operations of all views",
    "params": "parameters",
    "trainable_params": "trained parameters",
}

_NUMBER: Final = re.compile(r"[\d.]+(\+-\d+)?( [GMT])?")


def ledger_tables(entries: Sequence[Entry]) -> tuple[Table, ...]:
    """Every entry in one of three tables."""
    groups = {
        ("unexplained", "Unexplained"): [e for e in entries if not e.verdict.is_settled],
        ("explained", "Explained by arithmetic"): [
            e for e in entries if e.verdict.is_settled and not e.verdict.is_equal
        ],
        ("equal", "Equal within 2 %"): [e for e in entries if e.verdict.is_equal],
    }
    return tuple(
        _ledger(name, title, sorted(members, key=_order))
        for (name, title), members in groups.items()
    )


def whole_ledger(entries: Sequence[Entry]) -> Table:
    """All entries in one table."""
    return _ledger("audit", "Every published count", entries)


def _order(entry: Entry) -> tuple[bool, str]:
    return not entry.row.metric.startswith("macs"), entry.verdict.text


def _ledger(name: str, title: str, entries: Sequence[Entry]) -> Table:
    return Table(
        name=name,
        title=title,
        columns=_COLUMNS,
        rows=tuple(_row(entry) for entry in entries),
        note="A ? stands where the source prints no input; the model's own was counted",
    )


def _row(entry: Entry) -> tuple[Cell, ...]:
    row, verdict = entry.row, entry.verdict
    scale, prefix = (1e9, "G") if row.metric.startswith("macs") else (1e6, "M")
    counted = verdict.counted
    # The text of a number is shown as it is, so it must be one.
    is_number = _NUMBER.fullmatch(row.text) is not None
    printed = row.text if is_number else f"{number(row.value / scale)} {prefix}"
    return (
        text(plain(row.case.model)),
        text(plain(row.name)),
        text(plain(f"{row.source} {row.location}")),
        text(_QUANTITIES.get(row.metric, row.metric)),
        text(f"{row.frames or '?'}x{row.size_px or '?'}"),
        text("x".join(map(str, row.views))),
        Cell(printed, row.value),
        text(plain(row.word)),
        EMPTY if counted is None else Cell(f"{number(counted / scale)} {prefix}", counted),
        EMPTY if entry.ratio is None else Cell(f"{entry.ratio:.3f}", entry.ratio),
        text(verdict.text),
        text(plain(verdict.arithmetic)),
    )


def summary_table(entries: Iterable[Entry]) -> Table:
    """How many rows each verdict explains."""
    operations: Counter[str] = Counter()
    parameters: Counter[str] = Counter()
    for entry in entries:
        of = operations if entry.row.metric.startswith("macs") else parameters
        of[entry.verdict.text] += 1
    words = sorted(
        operations | parameters,
        key=lambda word: (word != Reason.EQUAL, -(operations[word] + parameters[word]), word),
    )
    return Table(
        name="verdicts",
        title="Verdicts",
        columns=(
            Column(key="verdict", header="verdict"),
            Column(key="operation_counts", header="operation counts"),
            Column(key="parameter_counts", header="parameter counts"),
        ),
        rows=tuple(
            (text(word), integer(operations[word]), integer(parameters[word])) for word in words
        ),
    )
