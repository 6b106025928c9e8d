"""The only module that writes to the terminal: data to stdout, everything else to stderr."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rich.console import Console


def _console(*, stderr: bool) -> "Console":
    from rich.console import Console

    # rich leaves out colour under NO_COLOR and TERM=dumb, and styling off a terminal
    return Console(stderr=stderr, highlight=False)


def data(value: Any) -> None:
    """Print one JSON document to stdout."""
    print(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def text(value: str) -> None:
    """Print lines to stdout as they are."""
    print(value)


def gap() -> None:
    """Print an empty line to stdout, which tells two tables apart where they are not framed."""
    print()


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table to stdout: framed on a terminal, else whole as tab-separated values."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            print(*("" if cell is None else cell for cell in row), sep="\t")
        return
    from rich.table import Table
    from rich.text import Text

    rendered = Table(*columns, title=title, title_justify="left")
    for row in rows:
        rendered.add_row(*(Text("" if cell is None else str(cell)) for cell in row))
    _console(stderr=False).print(rendered)


def note(message: str) -> None:
    """Print progress or commentary to stderr."""
    print(message, file=sys.stderr)


def error(message: str, hint: str | None = None) -> None:
    """Print an error, and on its own line how to go on."""
    console = _console(stderr=True)
    console.print("Error:", style="red", end=" ")
    console.print(message, markup=False, soft_wrap=True)
    if hint:
        console.print("Hint:", style="cyan", end=" ")
        console.print(hint, markup=False, soft_wrap=True)


@contextlib.contextmanager
def status(label: str) -> Iterator[None]:
    """A spinner on stderr while something short runs; nothing off a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    with _console(stderr=True).status(label):
        yield


@contextlib.contextmanager
def progress(label: str, total: int) -> Iterator[Callable[[str], None]]:
    """A bar with the time left on stderr; yields a function that takes one step and a remark.

    Off a terminal each step is a line, so that a log shows how far a run has come.
    """
    if not sys.stderr.isatty():
        done = 0

        def step(remark: str) -> None:
            nonlocal done
            done += 1
            note(f"[{done}/{total}] {remark}")

        yield step
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)

        def advance(remark: str) -> None:
            bar.print(remark, markup=False, soft_wrap=True)
            bar.advance(task)

        yield advance
