"""The audit as a report: sentences, the ledger, and the counters beside one another."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import msgspec

from vbench.core.types import Record
from vbench.core.units import number
from vbench.report import provenance
from vbench.report.audit import counters, tables
from vbench.report.audit.ledger import Entry
from vbench.report.audit.verdicts import Reason
from vbench.report.checks import Flag
from vbench.report.content import Content, as_csv
from vbench.report.document import Report, write

TITLE: Final = "Published operation and parameter counts, audited"
_LEFT_OUT: Final = (Reason.SCAN, Reason.FUSED)


def render(
    entries: Sequence[Entry], run_dir: Path, out_dir: Path, *, commands: Sequence[str]
) -> Report:
    """Write the audit's report.

    Args:
        entries: Judged from the records of `run_dir`.
        commands: What makes the same again.

    Raises:
        UsageError: The run folder holds no records.
        StoreError: Something cannot be read or written.
    """
    run = provenance.read_runs([run_dir])[0]
    cases = {entry.row.case.case_id for entry in entries}
    records = tuple(record for record in run.records if record.case_id in cases)
    asked = _asked(entries)
    found = counters.differences(asked)
    content = Content(
        title=TITLE,
        sentences=tuple(sentences(entries)),
        flags=tuple(_flags(records)),
        figures=(),
        tables=tuple(
            table
            for table in (
                tables.summary_table(entries),
                *tables.ledger_tables(entries),
                counters.reasons_table(found),
                counters.counters_table(asked),
                counters.operators_table(found),
            )
            if table.rows
        ),
        cases=provenance.cases_table([_without_data(record) for record in records]),
        environment=provenance.environment_table(records),
        runs=(replace(run, records=tuple(_without_data(record) for record in records)),),
        commands=tuple(commands),
    )
    ledger = as_csv(tables.whole_ledger(entries)).encode()
    return write(content, out_dir, extra={"tables/audit.csv": ledger})


def _asked(entries: Sequence[Entry]) -> list[Record]:
    """The records of the printed inputs, each once."""
    found = {e.record.case_id: e.record for e in entries if e.record is not None}
    return list(found.values())


def _without_data(record: Record) -> Record:
    """The record without its tables by operator, which have tables of their own here."""
    notes = {topic: note for topic, note in record.notes.items() if not note.startswith("{")}
    return msgspec.structs.replace(record, notes=notes)


def _flags(records: Sequence[Record]) -> list[Flag]:
    return [
        Flag(topic="not counted", text=f"{record.case}: {record.status}: {record.error}")
        for record in records
        if record.status != "ok"
    ]


def sentences(entries: Sequence[Entry]) -> list[str]:
    """What a reader should know first."""
    found = counters.differences(_asked(entries))
    operations = [e for e in entries if e.row.metric.startswith("macs")]
    parameters = [e for e in entries if not e.row.metric.startswith("macs")]
    said = [_totals(operations, "operation"), _totals(parameters, "parameter")]
    said += [_explanations(operations), _units(operations), _scans(operations), _furthest(entries)]
    said += [_counter(library, operations, found) for library in counters.LIBRARIES]
    return [sentence for sentence in said if sentence]


def _totals(entries: Sequence[Entry], kind: str) -> str:
    if not entries:
        return ""
    equal = sum(e.verdict.is_equal for e in entries)
    settled = sum(e.verdict.is_settled for e in entries)
    models = len({e.row.case.model for e in entries})
    return (
        f"Of {_plural(len(entries), f'published {kind} count')} of {_plural(models, 'model')}, "
        f"{equal} equal ours within 2 %, arithmetic explains {settled - equal}, and nothing "
        f"explains {len(entries) - settled}."
    )


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _explanations(entries: Sequence[Entry]) -> str:
    reasons = Counter(
        reason for e in entries if e.verdict.is_settled for reason in e.verdict.reasons
    )
    del reasons[Reason.EQUAL]
    if not reasons:
        return ""
    parts = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    return f"What explains them, several at once where need be: {parts}."


def _units(entries: Sequence[Entry]) -> str:
    named = [e for e in entries if e.verdict.is_settled and "FLOP" in e.row.word.upper()]
    if not named:
        return ""
    twice = sum(Reason.TWICE in e.verdict.reasons for e in named)
    return (
        f"Of {_plural(len(named), 'count')} equal or explained that the source calls FLOPs, "
        f"{len(named) - twice} are in fact multiply-adds; at two operations each: {twice}."
    )


def _scans(entries: Sequence[Entry]) -> str:
    hiding = [e for e in entries if set(_LEFT_OUT) & set(e.verdict.reasons)]
    if not hiding:
        return ""
    least = min(hiding, key=lambda e: (Reason.INPUT in e.verdict.reasons, e.ratio or 1.0))
    assert least.verdict.counted is not None
    models = len({e.row.case.model for e in hiding})
    return (
        f"The scan is left out in {_plural(len(hiding), 'printed count')} of "
        f"{_plural(models, 'model')}: {least.row.name} at {least.row.case.clip} prints "
        f"{least.row.text} where {number(least.verdict.counted / 1e9)} G are done."
    )


def _furthest(entries: Sequence[Entry]) -> str:
    openly = [e for e in entries if Reason.UNEXPLAINED in e.verdict.reasons and e.ratio]
    if not openly:
        return ""
    worst = max(openly, key=lambda e: max(e.ratio or 1.0, 1 / (e.ratio or 1.0)))
    return (
        f"The furthest off that nothing explains: {worst.row.source} prints {worst.row.text} for "
        f"{worst.row.name}, {number(worst.ratio or 0.0)} times what is counted."
    )


def _counter(library: str, entries: Sequence[Entry], found: Sequence[counters.Difference]) -> str:
    ratios = {
        record.case.model: record.values(f"{library}_macs")[0] / record.values("macs")[0]
        for record in _asked(entries)
        if record.values(f"{library}_macs") and record.values("macs")
    }
    low = {model: ratio for model, ratio in ratios.items() if ratio < 0.98}
    if not low:
        return ""
    model = min(low, key=lambda name: low[name])
    missed: Counter[str] = Counter()
    for one in found:
        if one.library == library and one.theirs < one.ours:
            missed[one.operator.rpartition(": ")[2]] += 1
    return (
        f"{library} finds less than 98 % of the operations of {len(low)} of "
        f"{_plural(len(ratios), 'model')}, least {100 * low[model]:.0f} % ({model}); it misses "
        f"mostly {' and '.join(name for name, _ in missed.most_common(2))}."
    )
