"""Tables and text as GitHub-flavoured Markdown, safe for whatever a record holds."""

import html
import re
from collections.abc import Iterable

from vbench.core.units import plain
from vbench.report.tables import Cell, Table, without_empty_columns

_SPECIAL = re.compile(r"([\\`*\[\]|~#!])")
_OUTER_UNDERSCORE = re.compile(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")


def escape(text: str) -> str:
    r"""Make text that Markdown shows as it is: one line, no markup, no HTML.

    >>> escape("a|b\n<i>*c*</i> video_mamba")
    'a\\|b &lt;i&gt;\\*c\\*&lt;/i&gt; video_mamba'
    """
    marked = _SPECIAL.sub(r"\\\1", html.escape(plain(text), quote=False))
    return _OUTER_UNDERSCORE.sub(r"\\_", marked)


def table(content: Table) -> str:
    """Render a table; a column's kind stands in its header, numbers to the right."""
    if not content.rows:
        return ""
    content = without_empty_columns(content)
    headers = [
        f"{escape(column.header)} ({column.group})" if column.group else escape(column.header)
        for column in content.columns
    ]
    rules = ["---:" if _is_number(cells) else "---" for cells in zip(*content.rows, strict=True)]
    rows = [[_shown(cell) for cell in row] for row in content.rows]
    lines = [headers, rules, *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _shown(cell: Cell) -> str:
    """A number's text is our own; any other may come from a record."""
    return escape(cell.text) if isinstance(cell.value, str | None) else cell.text


def _is_number(cells: Iterable[Cell]) -> bool:
    values = [cell.value for cell in cells if cell.value is not None]
    return bool(values) and all(isinstance(value, int | float) for value in values)


def fenced(text: str, language: str) -> str:
    """A code block whose fence is longer than any inside."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.rstrip()}\n{fence}\n"
