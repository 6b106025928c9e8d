"""Records on disk: one JSON object a line, appended in one write and synchronised, never rewritten.

A writer killed at any moment leaves at most one half-written last line. It is kept as it is: the
next writer starts on a new line, and readers skip and report it.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import msgspec

from vbench.core.errors import StoreError, UsageError
from vbench.core.types import SCHEMA_VERSION, Record

RECORDS_FILE = "records.jsonl"
LOCK_FILE = ".lock"


class Stored(NamedTuple):
    """What one run folder holds.

    Attributes:
        torn_lines: Numbers of lines that are not whole, one a killed writer.
    """

    records: list[Record]
    torn_lines: list[int]


class _Version(msgspec.Struct):
    schema_version: int | None = None


class RunWriter:
    """The only writer of one run folder while it is open.

    Raises:
        StoreError: The folder cannot be made or written.
        UsageError: Another process writes it.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(run_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _cannot_write(run_dir, error) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise UsageError(
                f"another sweep is writing {run_dir}",
                hint="wait for it, or write elsewhere with --out",
            ) from None
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
            self._records = os.open(run_dir / RECORDS_FILE, flags, 0o644)
        except OSError as error:
            os.close(self._lock)
            raise _cannot_write(run_dir, error) from None

    def append(self, record: Record) -> None:
        """Add one line and wait until it is on the disk.

        Raises:
            StoreError: The disk is full or gone; what was stored before stays.
        """
        line = msgspec.json.encode(record) + b"\n"
        try:
            if self._ends_torn():
                line = b"\n" + line
            written = 0
            while written < len(line):
                written += os.write(self._records, line[written:])
            os.fdatasync(self._records)
        except OSError as error:
            raise _cannot_write(self._run_dir, error) from None

    def _ends_torn(self) -> bool:
        size = os.fstat(self._records).st_size
        return size > 0 and os.pread(self._records, 1, size - 1) != b"\n"

    def close(self) -> None:
        """Let the next writer in."""
        os.close(self._records)
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _cannot_write(run_dir: Path, error: OSError) -> StoreError:
    return StoreError(
        f"cannot write results to {run_dir}: {error.strerror}",
        hint="free space or permission is needed there, or write elsewhere with --out",
    )


def write_text(path: Path, text: str) -> None:
    """Replace a small file in one step, so that no reader sees half of it."""
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise _cannot_write(path.parent, error) from None


def read(run_dir: Path) -> Stored:
    """Every whole record of a run, in the order written.

    Raises:
        UsageError: The folder holds no records, or those of another schema version.
    """
    path = run_dir / RECORDS_FILE
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(
            f"no records at: {path}", hint="`vbench sweep` and `vbench profile --out` write them"
        ) from None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None
    records: list[Record] = []
    torn_lines: list[int] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            records.append(_decode(line, f"{path}:{number}"))
        except msgspec.DecodeError:
            torn_lines.append(number)
    return Stored(records, torn_lines)


def _decode(line: bytes, where: str) -> Record:
    version = msgspec.json.decode(line, type=_Version).schema_version
    if version != SCHEMA_VERSION:
        raise UsageError(
            f"{where} has record schema {version}, this vbench reads: {SCHEMA_VERSION}",
            hint="read it with the vbench that wrote it",
        )
    return msgspec.json.decode(line, type=Record)


def latest(records: Iterable[Record]) -> dict[str, Record]:
    """The last record of each case: a case that was measured again replaces its failure."""
    return {record.case_id: record for record in records}
