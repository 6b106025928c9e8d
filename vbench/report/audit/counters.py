"""Where fvcore and thop count otherwise than we do, and which operator it is."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from vbench.core.types import Record
from vbench.core.units import number, plain
from vbench.report.audit.evidence import table as note_table
from vbench.report.tables import Cell, Column, Table, integer, text

LIBRARIES: Final = ("fvcore", "thop")
_EQUAL: Final = 1e-9
_G: Final = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One operator of one case that a library counts otherwise."""

    record: Record
    library: str
    operator: str
    ours: float
    theirs: float
    why: str

    @property
    def percent(self) -> float:
        """Of our total."""
        return 100 * (self.theirs - self.ours) / self.record.values("macs")[0]


def differences(records: Iterable[Record]) -> list[Difference]:
    """Every operator that is counted otherwise, as the records' notes tell."""
    return [
        found
        for record in records
        if record.values("macs")
        for library in LIBRARIES
        for found in _differences(record, library)
    ]


def _differences(record: Record, library: str) -> Iterator[Difference]:
    for operator, row in note_table(record, f"{library}_differences").items():
        try:
            counts = msgspec.convert(row, _Counts)
        except msgspec.ValidationError:
            continue
        if abs(counts.ours - counts.theirs) > _EQUAL * max(counts.ours, counts.theirs):
            yield Difference(
                record=record,
                library=library,
                operator=operator,
                ours=counts.ours,
                theirs=counts.theirs,
                why=counts.why,
            )


class _Counts(msgspec.Struct):
    """One entry of a note on differences."""

    ours: float
    theirs: float
    why: str


def counters_table(records: Sequence[Record]) -> Table:
    """What each counter gives for each case."""
    columns = [
        Column(key="model", header="model"),
        Column(key="clip", header="frames x pixels"),
        Column(key="macs", header="ours (G)", group="counted"),
    ]
    for library in LIBRARIES:
        columns += [
            Column(key=f"{library}_macs", header=f"{library} (G)", group="counted"),
            Column(key=f"{library}_ratio", header=f"{library} / ours", group="counted"),
        ]
    return Table(
        name="counters",
        title="What three counters say",
        columns=tuple(columns),
        rows=tuple(_counters_row(record) for record in records if record.values("macs")),
        note="Multiply-adds of a forward pass of one clip, fused attention. fvcore and thop are "
        "taken as they come; a reason stands where one fails",
    )


def _counters_row(record: Record) -> tuple[Cell, ...]:
    ours = record.values("macs")[0]
    cells = [text(plain(record.case.model)), text(plain(record.case.clip))]
    cells.append(Cell(number(ours / _G), ours))
    for library in LIBRARIES:
        theirs = next(iter(record.values(f"{library}_macs")), None)
        if theirs is None:
            cells += [text(plain(record.notes.get(f"{library}_error", "not counted"))), text("")]
        else:
            cells += [
                Cell(number(theirs / _G), theirs),
                Cell(f"{theirs / ours:.3f}", theirs / ours),
            ]
    return tuple(cells)


def reasons_table(found: Sequence[Difference]) -> Table:
    """The same operator of all models in one row, the one that misses most first."""
    grouped: dict[tuple[str, str, str], list[Difference]] = defaultdict(list)
    for one in found:
        grouped[one.library, _kind(one.operator), one.why].append(one)
    ordered = sorted(grouped.items(), key=lambda item: -max(abs(d.percent) for d in item[1]))
    rows = []
    for (library, operator, why), members in ordered:
        percents = sorted((one.percent for one in members), key=abs)
        rows.append(
            (
                text(library),
                text(plain(operator)),
                text(_what(members)),
                integer(len({one.record.case.model for one in members})),
                Cell(f"{percents[0]:+.2g} to {percents[-1]:+.2g}", percents[-1]),
                text(plain(why)),
            )
        )
    return Table(
        name="disagreements",
        title="Which operators counters miss or count besides",
        columns=(
            Column(key="counter", header="counter"),
            Column(key="operator", header="operator"),
            Column(key="what", header="it is"),
            Column(key="models", header="models"),
            Column(key="percent_of_ours", header="of our total (%)", group="counted"),
            Column(key="why", header="why"),
        ),
        rows=tuple(rows),
    )


def _kind(operator: str) -> str:
    """The operator without the type of module that calls it."""
    return operator.rpartition(": ")[2]


def _what(members: Sequence[Difference]) -> str:
    words = {_word(one) for one in members}
    return words.pop() if len(words) == 1 else "counted otherwise"


def _word(one: Difference) -> str:
    if one.theirs == 0:
        return "missed"
    if one.ours == 0:
        return "counted besides"
    ratio = one.theirs / one.ours
    if abs(ratio - 2) < 0.01:
        return "counted twice"
    return f"counted {number(ratio)} times"


def operators_table(found: Sequence[Difference]) -> Table:
    """Every difference, operator by operator, of one case a model."""
    shown: dict[str, str] = {}
    for one in found:
        shown.setdefault(one.record.case.model, one.record.case_id)
    rows = [
        (
            text(plain(one.record.case.model)),
            text(plain(one.record.case.clip)),
            text(one.library),
            text(plain(one.operator)),
            Cell(number(one.ours / _G), one.ours),
            Cell(number(one.theirs / _G), one.theirs),
            text(_word(one)),
            text(plain(one.why)),
        )
        for one in found
        if shown[one.record.case.model] == one.record.case_id
    ]
    return Table(
        name="operators",
        title="Disagreements operator by operator",
        columns=(
            Column(key="model", header="model"),
            Column(key="clip", header="frames x pixels"),
            Column(key="counter", header="counter"),
            Column(key="operator", header="operator"),
            Column(key="ours", header="ours (G)", group="counted"),
            Column(key="theirs", header="theirs (G)", group="counted"),
            Column(key="what", header="it is"),
            Column(key="why", header="why"),
        ),
        rows=tuple(rows),
        note="thop counts by type of module, which stands before the operator",
    )
