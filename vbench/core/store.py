"""Records on disk: one JSON object a line, appended in one write and synchronised, never rewritten.

A writer killed at any moment leaves at most one half-written last line. It is kept as it is: the
next writer starts on a new line, and readers skip and report it.
"""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

import msgspec

from vbench.core.errors import StoreError, UsageError
from vbench.core.types import SCHEMA_VERSION, Record

T = TypeVar("T", bound=msgspec.Struct)

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

    Args:
        run_dir: Made if it is not there.
        file: Of the records in it.
        task: What writes there, for the message to whoever comes second.

    Raises:
        StoreError: The folder cannot be made or written.
        UsageError: Another process writes it.
    """

    def __init__(self, run_dir: Path, *, file: str = RECORDS_FILE, task: str = "sweep") -> None:
        self._run_dir = run_dir
        try:
            run_dir.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(run_dir / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise cannot_write(run_dir, error) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise UsageError(
                f"another {task} is writing {run_dir}",
                hint="wait for it, or write elsewhere with --out",
            ) from None
        try:
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
            self._records = os.open(run_dir / file, flags, 0o644)
        except OSError as error:
            os.close(self._lock)
            raise cannot_write(run_dir, error) from None

    def append(self, *records: msgspec.Struct) -> None:
        """Add a line a record and wait until it is on the disk.

        Raises:
            StoreError: The disk is full or gone; what was stored before stays.
        """
        line = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        try:
            if self._ends_torn():
                line = b"\n" + line
            written = 0
            while written < len(line):
                written += os.write(self._records, line[written:])
            os.fdatasync(self._records)
        except OSError as error:
            raise cannot_write(self._run_dir, error) from None

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


def cannot_write(run_dir: Path, error: Exception) -> StoreError:
    """What a user is told of a folder that is full, or not theirs."""
    reason = getattr(error, "strerror", None) or error
    return StoreError(
        f"cannot write results to {run_dir}: {reason}",
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
        raise cannot_write(path.parent, error) from None


def read(run_dir: Path) -> Stored:
    """Every whole record of a run, in the order written.

    Raises:
        UsageError: The folder holds no records, or those of another schema version.
    """
    path = run_dir / RECORDS_FILE
    try:
        records, torn_lines = read_lines(path, Record, schema_version=SCHEMA_VERSION)
    except FileNotFoundError:
        raise UsageError(
            f"no records at: {path}", hint="`vbench sweep` and `vbench profile --out` write them"
        ) from None
    return Stored(records, torn_lines)


def read_lines(path: Path, kind: type[T], *, schema_version: int) -> tuple[list[T], list[int]]:
    """Every whole line of a file as a `kind`, and the numbers of the lines that are torn.

    Raises:
        FileNotFoundError: There is no such file.
        UsageError: A line is of another schema version.
        StoreError: It cannot be read.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from None
    records: list[T] = []
    torn_lines: list[int] = []
    for number, line in enumerate(data.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            version = msgspec.json.decode(line, type=_Version).schema_version
            if version != schema_version:
                raise UsageError(
                    f"{path}:{number} has record schema {version}, this vbench reads: "
                    f"{schema_version}",
                    hint="read it with the vbench that wrote it",
                )
            records.append(msgspec.json.decode(line, type=kind))
        except msgspec.DecodeError:
            torn_lines.append(number)
    return records, torn_lines


def latest(records: Iterable[Record]) -> dict[str, Record]:
    """The last record of each case: a case that was measured again replaces its failure."""
    return {record.case_id: record for record in records}
