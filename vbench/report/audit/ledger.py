"""Printed numbers joined with their records: one entry a number, and what is still open."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from vbench.core.printed import Printed
from vbench.core.types import Record
from vbench.report.audit.evidence import Evidence, evidence
from vbench.report.audit.verdicts import Verdict, verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One printed number, the record of its case, and the verdict."""

    row: Printed
    record: Record | None
    verdict: Verdict

    @property
    def ratio(self) -> float | None:
        """Printed over counted."""
        return self.row.value / self.verdict.counted if self.verdict.counted else None


def judge(rows: Sequence[Printed], records: Iterable[Record]) -> tuple[Entry, ...]:
    """The verdict of every row, in order, from all records of its model."""
    finished = {record.case_id: record for record in records if record.status == "ok"}
    by_model: dict[str, list[Evidence]] = defaultdict(list)
    for record in finished.values():
        by_model[record.case.model].append(evidence(record))
    return tuple(
        _judged(row, finished.get(row.case.case_id), by_model[row.case.model]) for row in rows
    )


def _judged(row: Printed, record: Record | None, others: Sequence[Evidence]) -> Entry:
    found = None if record is None else evidence(record)
    return Entry(row=row, record=record, verdict=verdict(row, found, others))


def unsettled(entries: Iterable[Entry]) -> list[Printed]:
    """Rows that no arithmetic explains yet."""
    return [entry.row for entry in entries if not entry.verdict.is_settled]
