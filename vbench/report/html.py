"""The report as one HTML file: no network, readable without JavaScript, light and dark."""

from collections.abc import Iterable
from html import escape
from importlib import resources
from itertools import groupby
from typing import Final

from vbench.core.units import plain
from vbench.report.content import Content, protocol
from vbench.report.figures import Rendered
from vbench.report.provenance import Run
from vbench.report.tables import Cell, Table, without_empty_columns

_CSP: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
)
_LONG: Final = 40
_LONG_TEXT: Final = 60
_START: Final = ' class="start"'


def page(content: Content) -> str:
    """Render the whole page."""
    folder = resources.files("vbench.report") / "page"
    style = (folder / "style.css").read_text(encoding="utf-8")
    script = (folder / "sort.js").read_text(encoding="utf-8")
    title = text(content.title)
    body = "\n".join(_sections(content))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{_CSP}">
<title>{title}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header>
<p class="kicker">vbench report</p>
<h1>{title}</h1>
</header>
{body}
</main>
<script>
{script}</script>
</body>
</html>
"""


def text(value: object) -> str:
    """Escape one line of text, also for use inside a quoted attribute."""
    return escape(plain(value), quote=True)


def _sections(content: Content) -> Iterable[str]:
    yield _list(content.sentences, "lead")
    if content.flags:
        yield _flags(content)
    yield from map(_figure, content.figures)
    if content.tables:
        yield f'<p class="note">{text(content.note)}</p>'
    yield from map(_table_section, content.tables)
    if content.cases.rows:
        yield _table_section(content.cases)
    yield _provenance(content)


def _list(sentences: Iterable[str], css: str) -> str:
    items = "\n".join(f"<li>{text(sentence)}</li>" for sentence in sentences)
    return f'<ul class="{css}">\n{items}\n</ul>'


def _flags(content: Content) -> str:
    items = "\n".join(
        f"<li><b>{text(flag.topic)}</b> {text(flag.text)}</li>" for flag in content.flags
    )
    return (
        '<section class="flags">\n<h2>Before trusting the numbers</h2>\n'
        f"<ul>\n{items}\n</ul>\n</section>"
    )


def _figure(figure: Rendered) -> str:
    return (
        f'<section id="{figure.name}">\n<h2>{text(figure.title)}</h2>\n<figure>\n'
        f'<div class="canvas">{figure.inline}</div>\n'
        f"<figcaption>{text(figure.caption)}</figcaption>\n</figure>\n</section>"
    )


def _table_section(table: Table) -> str:
    note = f'<p class="note">{text(table.note)}</p>\n' if table.note else ""
    body = f'<div class="scroll">{html_table(table)}</div>'
    if len(table.rows) > _LONG:
        summary = f"<summary>{len(table.rows)} rows</summary>"
        body = f"<details open>{summary}{body}</details>"
    return (
        f'<section id="table-{table.name}">\n<h2>{text(table.title)}</h2>\n{note}{body}\n</section>'
    )


def html_table(table: Table) -> str:
    """Render a table, its columns under the kind of their numbers."""
    table = without_empty_columns(table)
    starts = _group_starts(table)
    head = _group_row(table) + _header_row(table, starts)
    rows = "\n".join(
        f"<tr>{''.join(_cell(cell, starts_group=i in starts) for i, cell in enumerate(row))}</tr>"
        for row in table.rows
    )
    return f"<table>\n<thead>\n{head}</thead>\n<tbody>\n{rows}\n</tbody>\n</table>"


def _group_starts(table: Table) -> set[int]:
    groups = [column.group for column in table.columns]
    return {i for i in range(1, len(groups)) if groups[i] != groups[i - 1]}


def _group_row(table: Table) -> str:
    if not any(column.group for column in table.columns):
        return ""
    cells = [
        f'<th colspan="{len(list(members))}" class="group {group}">{text(group)}</th>'
        for group, members in groupby(column.group for column in table.columns)
    ]
    return f"<tr>{''.join(cells)}</tr>\n"


def _header_row(table: Table, starts: set[int]) -> str:
    cells = [
        f'<th scope="col"{_START if i in starts else ""}>{text(column.header)}</th>'
        for i, column in enumerate(table.columns)
    ]
    return f'<tr class="sortable">{"".join(cells)}</tr>\n'


def _cell(cell: Cell, *, starts_group: bool) -> str:
    classes = ["start"] if starts_group else []
    key = ""
    if isinstance(cell.value, int | float):
        classes.append("number")
        key = f' data-value="{cell.value!r}"'
    elif len(cell.text) > _LONG_TEXT:
        classes.append("long")
    css = f' class="{" ".join(classes)}"' if classes else ""
    return f"<td{css}{key}>{text(cell.text)}</td>"


def _provenance(content: Content) -> str:
    commands = "\n".join(text(command) for command in content.commands)
    facts = "\n".join(
        f"<tr><th scope='row'>{text(what)}</th><td>{text(how)}</td></tr>"
        for what, how in protocol(content)
    )
    runs = "\n".join(map(_run, content.runs))
    environment = html_table(content.environment) if content.environment.rows else ""
    return (
        '<section id="provenance">\n<h2>Provenance</h2>\n'
        f"<pre>{commands}</pre>\n"
        f'<div class="scroll"><table class="facts">{facts}</table></div>\n'
        f'<h3>Environment</h3>\n<div class="scroll">{environment}</div>\n'
        f"<h3>Runs</h3>\n{runs}\n</section>"
    )


def _run(run: Run) -> str:
    head = f"<p><code>{text(run.path)}</code> ({text(run.contents)})</p>"
    if run.spec is None:
        return head
    return (
        f"{head}\n<details><summary>spec.toml</summary>"
        f"<pre>{escape(run.spec.rstrip(), quote=True)}</pre></details>"
    )
