"""Where the numbers come from: every case with its ending, every environment, every run."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from vbench.core import store
from vbench.core.errors import StoreError, UsageError
from vbench.core.types import Environment, Record
from vbench.core.units import number, plain
from vbench.report.frame import latest
from vbench.report.labels import case_label
from vbench.report.series import FAILURES
from vbench.report.tables import Cell, Column, Table, from_headers, text

SPEC_FILE: Final = "spec.toml"
_PASSING: Final = ("load_average", "foreign_processes")
_LEFT_OUT: Final = ("hostname",)  # a report may be published; the machine's name is nobody's


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A results folder as it was found.

    Attributes:
        torn_lines: Numbers of half-written lines that were passed over.
        num_superseded: Records of cases that were measured again later.
        spec: Its spec file's text, or None without one.
        sha256: Of its records file, or of an evaluation's summary, first 16 digits.
        num_videos: Of an evaluation; None for a sweep.
    """

    path: Path
    records: tuple[Record, ...]
    torn_lines: tuple[int, ...]
    num_superseded: int
    spec: str | None
    sha256: str
    num_videos: int | None = None

    @property
    def name(self) -> str:
        """Name of the folder."""
        return plain(self.path.resolve().name)

    @property
    def contents(self) -> str:
        """What it holds, in words."""
        if self.num_videos is None:
            return f"{len(self.records)} cases, records sha256 {self.sha256}..."
        return f"{self.num_videos} videos, summary sha256 {self.sha256}..."


def read_runs(run_dirs: Sequence[Path]) -> tuple[Run, ...]:
    """Read results folders, a folder named twice once.

    Raises:
        UsageError: None was named, one holds no records file or another schema, or all are empty.
        StoreError: A file cannot be read.
    """
    if not run_dirs:
        raise UsageError("no results folder was named", hint="`vbench report results/<run>`")
    distinct = {path.resolve(): path for path in run_dirs}
    runs = tuple(_read_run(path) for path in distinct.values())
    if not any(run.records for run in runs):
        folders = ", ".join(str(run.path) for run in runs)
        raise UsageError(
            f"no finished case in: {folders}", hint="`vbench sweep` goes on where it stopped"
        )
    return runs


def _read_run(path: Path) -> Run:
    stored = store.read(path)
    kept = store.latest(stored.records).values()
    return Run(
        path=path,
        records=tuple(kept),
        torn_lines=tuple(stored.torn_lines),
        num_superseded=len(stored.records) - len(kept),
        spec=_read_spec(path / SPEC_FILE),
        sha256=hashlib.sha256((path / store.RECORDS_FILE).read_bytes()).hexdigest()[:16],
    )


def _read_spec(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None


def cases_table(records: Iterable[Record]) -> Table:
    """Every case, failures with their reason."""
    kept = [record for record, _ in latest(records)]
    common = common_notes(kept)
    repeats = any(record.case.repeat for record in kept)
    headers = ["case", *(["process"] if repeats else []), "device", "status", "reason"]
    headers += ["took (s)", "started (UTC)", "run", "case id", "notes"]
    endings = Counter(record.status for record in kept)
    counts = (f"{n} {FAILURES.get(status, status)}" for status, n in sorted(endings.items()))
    rows = [_case_row(record, common, with_repeat=repeats) for record in kept]
    return from_headers("cases", "Every case", headers, rows, note=", ".join(counts))


def _case_row(record: Record, common: dict[str, str], *, with_repeat: bool) -> tuple[Cell, ...]:
    notes = "; ".join(
        f"{plain(topic)}: {plain(note)}"
        for topic, note in record.notes.items()
        if topic not in common and not _is_data(note)
    )
    return (
        text(case_label(record)),
        *([Cell(f"{record.case.repeat}", record.case.repeat)] if with_repeat else []),
        text(plain(record.case.device)),
        text(FAILURES.get(record.status, record.status)),
        text(plain(record.error or "")),
        Cell(number(record.duration_s), record.duration_s),
        text(plain(record.started_at_utc)),
        text(plain(record.run_id)),
        text(plain(record.case_id)),
        text(notes),
    )


def common_notes(records: Iterable[Record]) -> dict[str, str]:
    """Notes that most records carry and that all say the same, by topic: they are told once."""
    said: dict[str, list[str]] = defaultdict(list)
    total = 0
    for record in records:
        total += 1
        for topic, note in record.notes.items():
            said[topic].append(note)
    return {
        topic: plain(notes[0])
        for topic, notes in said.items()
        if 2 * len(notes) > total > 1 and len(set(notes)) == 1 and not _is_data(notes[0])
    }


def _is_data(note: str) -> bool:
    """Whether a note is JSON for a program and not words."""
    return note.startswith(("{", "["))


def environment_table(records: Iterable[Record]) -> Table:
    """Every distinct environment, a column each; what does not hold anywhere is left out."""
    found: dict[Environment, set[str]] = defaultdict(set)
    for record in records:
        if record.environment is not None:
            lasting = msgspec.structs.replace(record.environment, **dict.fromkeys(_PASSING))
            found[lasting].add(record.run_id)
    return environments_table(found)


def environments_table(found: Mapping[Environment, Collection[str]]) -> Table:
    """A column an environment, with the runs that were taken in it."""
    environments = sorted(found, key=lambda one: (one.device_name, sorted(found[one])))
    fields = [name for name in Environment.__struct_fields__ if name not in _LEFT_OUT]
    rows = [(text("runs"), *(text(plain(", ".join(sorted(found[e])))) for e in environments))]
    for field in fields:
        values = [getattr(environment, field) for environment in environments]
        if any(value is not None for value in values):
            rows.append((text(_TITLES.get(field, field.replace("_", " "))), *map(_cell, values)))
    columns = [Column(key="what", header="")]
    columns += [
        Column(key=f"environment_{i}", header=plain(one.device_name))
        for i, one in enumerate(environments, start=1)
    ]
    return Table(
        name="environment",
        title="Environment",
        columns=tuple(columns),
        rows=tuple(rows) if environments else (),
    )


_TITLES: Final = {
    "gpu_memory_bytes": "GPU memory (bytes)",
    "gpu_power_limit_w": "GPU power limit (W)",
    "gpu_uuid": "GPU UUID",
    "num_threads": "CPU threads",
    "cpu_model": "CPU",
    "allow_tf32": "TF32 allowed",
    "cuda": "CUDA",
    "cudnn": "cuDNN",
    "cudnn_benchmark": "cuDNN benchmark",
    "git_commit": "git commit",
}


def _cell(value: object) -> Cell:
    if value is None:
        return text("unknown")
    if isinstance(value, bool):
        return text("yes" if value else "no")
    return text(plain(value))
