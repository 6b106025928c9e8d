"""Results folders -> a report: README.md, index.html, figures, tables, and what they came from."""

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
import pandas as pd

from vbench import __version__
from vbench.core.errors import StoreError
from vbench.core.units import plain
from vbench.report import figures, html, readme
from vbench.report.content import Content, as_csv, gather
from vbench.report.derive import Peaks, add_derived
from vbench.report.frame import to_frame
from vbench.report.hardware import known_peaks
from vbench.report.provenance import SPEC_FILE, Run, read_runs
from vbench.report.sentences import headline

__all__ = ["Report", "headline", "read_frame", "render", "write"]

MANIFEST: Final = "report.toml"


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What was written.

    Attributes:
        paths: README.md, index.html, then figures and tables.
        sentences: The few a person would want to read.
    """

    paths: tuple[Path, ...]
    sentences: tuple[str, ...]


def read_frame(run_dirs: Sequence[Path], *, peaks: Peaks | None = None) -> pd.DataFrame:
    """The frame of results folders, with derived rows.

    Raises:
        VbenchError: As `render`.
    """
    return _frame(read_runs(run_dirs), peaks)


def render(
    run_dirs: Sequence[Path],
    out_dir: Path,
    *,
    title: str | None = None,
    plots: Sequence[str] | None = None,
    peaks: Peaks | None = None,
) -> Report:
    """Write the report of one or more runs; the same records give the same bytes.

    Files of an earlier report in `out_dir` that this one does not write are removed.

    Args:
        title: By default the spec's title, or the names of the runs.
        plots: Names of the figures to draw where they apply; None for the spec's, or for all.
        peaks: FLOP/s by device and precision; by default those of `measure/hardware.csv`.

    Raises:
        UsageError: There are no records, those of another schema, or a plot's name is unknown.
        StoreError: Something cannot be read or written.
    """
    content, extra = gathered(run_dirs, out_dir, title=title, plots=plots, peaks=peaks)
    return write(content, out_dir, extra=extra)


def gathered(
    run_dirs: Sequence[Path],
    out_dir: Path,
    *,
    title: str | None = None,
    plots: Sequence[str] | None = None,
    peaks: Peaks | None = None,
) -> tuple[Content, dict[str, bytes]]:
    """What `render` writes, and the further files by their path in the report.

    Raises:
        VbenchError: As `render`.
    """
    runs = read_runs(run_dirs)
    frame = _frame(runs, peaks)
    specs = [_spec(run) for run in runs]
    chosen = plots or next((spec.plots for spec in specs if spec.plots), ())
    drawn = [figures.render(plot, frame) for plot in figures.choose(frame, chosen)]
    content = gather(title or _title(runs, specs), runs, frame, drawn, _commands(runs, out_dir))
    return content, {"tables/all.csv": _all_rows(frame)}


def write(content: Content, out_dir: Path, *, extra: Mapping[str, bytes] | None = None) -> Report:
    """Write a report; files of an earlier one that this one does not write are removed.

    Args:
        extra: Further files by their path in the report.

    Raises:
        StoreError: Something cannot be read or written.
    """
    files = _files(content) | dict(extra or {})
    files[MANIFEST] = _manifest(content, files).encode()
    _remove_stale(out_dir, keep=files)
    for name, data in files.items():
        _write(out_dir / name, data)
    first = ["README.md", "index.html"]
    names = first + sorted(set(files) - set(first))
    return Report(paths=tuple(out_dir / name for name in names), sentences=content.sentences)


def _frame(runs: Sequence[Run], peaks: Peaks | None) -> pd.DataFrame:
    frame = to_frame(record for run in runs for record in run.records)
    return add_derived(frame, known_peaks() if peaks is None else peaks)


class _SpecHead(msgspec.Struct):
    """What a report takes from a spec; the rest is shown as it is."""

    title: str = ""
    plots: tuple[str, ...] = ()


def _spec(run: Run) -> _SpecHead:
    try:
        return msgspec.toml.decode(run.spec or "", type=_SpecHead)
    except msgspec.DecodeError:  # a flag tells that it cannot be read
        return _SpecHead()


def _title(runs: Sequence[Run], specs: Sequence[_SpecHead]) -> str:
    names = ", ".join(run.name for run in runs)
    return plain(specs[0].title) or names if len(runs) == 1 else names


def _commands(runs: Sequence[Run], out_dir: Path) -> list[str]:
    """What takes and renders the same again."""
    sweeps = [
        f"vbench sweep {shlex.quote(str(run.path / SPEC_FILE))}"
        for run in runs
        if run.spec is not None
    ]
    folders = " ".join(shlex.quote(str(run.path)) for run in runs)
    return [*sweeps, f"vbench report {folders} --out {shlex.quote(str(out_dir))}"]


def _all_rows(frame: pd.DataFrame) -> bytes:
    text: str = frame.drop(columns="point_id").to_csv(index=False)
    return text.encode()


def _files(content: Content) -> dict[str, bytes]:
    """Every file but the manifest, by its path in the report."""
    files = {
        "README.md": readme.page(content).encode(),
        "index.html": html.page(content).encode(),
    }
    for table in (*content.tables, content.cases, content.environment):
        files[f"tables/{table.name}.csv"] = as_csv(table).encode()
    for figure in content.figures:
        files[f"figures/{figure.name}.svg"] = figure.svg
        files[f"figures/{figure.name}.png"] = figure.png
    return files


class _Source(msgspec.Struct):
    path: str
    records: int
    sha256: str


class _Manifest(msgspec.Struct):
    """What a report was made from, and the files that are its own."""

    title: str
    vbench: str
    files: list[str]
    runs: list[_Source]


def _manifest(content: Content, files: Iterable[str]) -> str:
    lines = [
        "# What this report was made from. Rendered, not edited: `vbench report` writes it again.",
        f"title = {_quoted(content.title)}",
        f"vbench = {_quoted(__version__)}",
        f"files = [{', '.join(_quoted(name) for name in sorted(files))}]",
    ]
    for run in content.runs:
        lines += [
            "",
            "[[runs]]",
            f"path = {_quoted(str(run.path))}",
            f"records = {len(run.records)}",
            f"sha256 = {_quoted(run.sha256)}",
        ]
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """A TOML basic string; a JSON string is one."""
    return msgspec.json.encode(text).decode()


def _remove_stale(out_dir: Path, *, keep: Iterable[str]) -> None:
    """Remove what an earlier report lists as its own, never anything outside its folder."""
    try:
        earlier = msgspec.toml.decode((out_dir / MANIFEST).read_bytes(), type=_Manifest)
    except (FileNotFoundError, NotADirectoryError, msgspec.DecodeError):
        return
    except OSError as error:
        raise StoreError(f"cannot read {out_dir / MANIFEST}: {error.strerror}") from None
    folders = {out_dir.resolve() / name for name in ("figures", "tables")}
    for name in set(earlier.files) - set(keep):
        path = (out_dir / name).resolve()
        if path.parent in folders and path.is_file():
            path.unlink()


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        raise StoreError(
            f"cannot write the report to {path}: {error.strerror}",
            hint="free space or permission is needed there, or write elsewhere with --out",
        ) from None
