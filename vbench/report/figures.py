"""Figures as files: chosen plots drawn once each, as SVG, PNG and SVG for an HTML page."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import matplotlib as mpl
import pandas as pd

from vbench.report import canvas
from vbench.report.plots import PLOTS, Plot

_DPI: Final = 144
_SHADES: Final = {
    canvas.INK: "var(--ink)",
    canvas.MUTED: "var(--muted)",
    canvas.GRID: "var(--grid)",
    canvas.PAPER: "var(--paper)",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """One figure in all its forms.

    Attributes:
        inline: SVG for a page: no prologue, identifiers of its own, shades as CSS variables.
    """

    name: str
    title: str
    caption: str
    svg: bytes
    png: bytes
    inline: str


def choose(frame: pd.DataFrame, names: Sequence[str]) -> list[Plot]:
    """The plots named, or all that apply.

    Raises:
        UsageError: A name is unknown.
    """
    plots = [PLOTS[name] for name in names or PLOTS]
    fitting = [plot for plot in plots if plot.applies(frame)]
    return fitting if names else sorted(fitting, key=lambda plot: (plot.order, plot.name))


def render(plot: Plot, frame: pd.DataFrame) -> Rendered:
    """Draw a plot; the same frame gives the same bytes."""
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user's own matplotlibrc says
        mpl.rcParams.update(canvas.STYLE)
        mpl.rcParams["svg.hashsalt"] = plot.name
        drawing = plot.draw(frame)
        svg, png = io.BytesIO(), io.BytesIO()
        drawing.figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        drawing.figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    return Rendered(
        name=plot.name,
        title=plot.title,
        caption=drawing.caption,
        svg=svg.getvalue(),
        png=png.getvalue(),
        inline=for_page(svg.getvalue().decode(), plot),
    )


def for_page(svg: str, plot: Plot) -> str:
    """Strip what only a file needs, keep identifiers apart, and let the page choose the shades."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'\s(xmlns(:\w+)?|version|width|height)="[^"]*"', "", body, count=0)
    body = re.sub(r'\bid="', f'id="{plot.name}-', body)
    body = re.sub(r"url\(#", f"url(#{plot.name}-", body)
    body = re.sub(r'xlink:href="#', f'href="#{plot.name}-', body)
    for shade, variable in _SHADES.items():
        body = body.replace(shade, variable)
    return body.replace("<svg", f'<svg role="img" aria-label="{plot.title}"', 1)
