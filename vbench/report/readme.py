"""The report as one Markdown page beside its figures and tables."""

from collections.abc import Iterable
from typing import Final

from vbench.report.content import Content, protocol
from vbench.report.markdown import escape, fenced, table
from vbench.report.tables import Table

_LONG: Final = 60
_FINISHED: Final = "ok"


def page(content: Content) -> str:
    """Render the whole page."""
    return "\n".join(_blocks(content))


def _blocks(content: Content) -> Iterable[str]:
    yield f"# {escape(content.title)}\n"
    yield "".join(f"- {escape(sentence)}\n" for sentence in content.sentences)
    if content.flags:
        yield "## Before trusting the numbers\n"
        yield "".join(
            f"- **{escape(flag.topic)}**: {escape(flag.text)}\n" for flag in content.flags
        )
    for figure in content.figures:
        yield f"## {escape(figure.title)}\n"
        yield f"![{escape(figure.title)}](figures/{figure.name}.svg)\n"
        yield f"{escape(figure.caption)}\n"
    if content.tables:
        yield f"{content.note}\n"
    for content_table in content.tables:
        yield from _section(content_table)
    yield from _section(_brief_cases(content.cases))
    yield from _section(content.environment)
    yield from _provenance(content)


def _section(content: Table) -> Iterable[str]:
    if not content.rows:
        return
    yield f"## {escape(content.title)}\n"
    if content.note:
        yield f"{escape(content.note)}\n"
    hidden = len(content.rows) - _LONG
    if hidden <= 0:
        yield table(content)
        return
    shortened = Table(
        name=content.name,
        title=content.title,
        columns=content.columns,
        rows=content.rows[:_LONG],
    )
    yield table(shortened)
    yield f"{hidden} more rows are in [tables/{content.name}.csv](tables/{content.name}.csv).\n"


def _brief_cases(cases: Table) -> Table:
    """Failures first where the table is too long to be shown whole."""
    if len(cases.rows) <= _LONG:
        return cases
    status = [column.key for column in cases.columns].index("status")
    ordered = sorted(cases.rows, key=lambda row: row[status].text == _FINISHED)
    return Table(
        name=cases.name,
        title=cases.title,
        columns=cases.columns,
        rows=tuple(ordered),
        note=f"{cases.note}. Those that did not finish come first",
    )


def _provenance(content: Content) -> Iterable[str]:
    yield "## Provenance\n"
    yield fenced("\n".join(content.commands), "console")
    yield "".join(f"- {escape(what)}: {escape(how)}\n" for what, how in protocol(content))
    for run in content.runs:
        yield f"- {escape(str(run.path))}: {run.contents}\n"
        if run.spec is not None:
            yield "<details><summary>spec.toml</summary>\n"
            yield fenced(run.spec, "toml")
            yield "</details>\n"
