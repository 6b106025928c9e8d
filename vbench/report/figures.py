"""Figures as files: chosen plots drawn once each, as SVG, PNG and SVG for an HTML page."""

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

import matplotlib as mpl
import pandas as pd

from vbench.report import canvas
from vbench.report.plots import PLOTS, Plot

_DPI: Final = 144
_PX_PER_PT: Final = 4 / 3
_FONTS: Final = f"'{canvas.FONT}', Verdana, sans-serif"  # Verdana's letters are as wide
_SHADES: Final = {
    canvas.INK: "var(--ink)",
    canvas.MUTED: "var(--muted)",
    canvas.GRID: "var(--grid)",
    canvas.PAPER: "var(--paper)",
} | {colour: f"var(--series-{i})" for i, colour in enumerate(canvas.COLOURS)}


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
        file, png = io.BytesIO(), io.BytesIO()
        drawing.figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        drawing.figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": None})
    svg = file.getvalue().decode().replace(f"'{canvas.FONT}'", _FONTS)
    return Rendered(
        name=plot.name,
        title=plot.title,
        caption=drawing.caption,
        svg=svg.encode(),
        png=png.getvalue(),
        inline=for_page(svg, plot),
    )


def for_page(svg: str, plot: Plot) -> str:
    """Strip what only a file needs, keep identifiers apart, and let the page choose the shades."""
    body = svg[svg.index("<svg") :]
    head, _, body = body.partition(">")
    width = re.search(r'width="([\d.]+)pt"', head)
    view = re.search(r'viewBox="[^"]*"', head)
    if width is None or view is None:
        raise ValueError(f"no size in the SVG of: {plot.name}")
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'\bid="', f'id="{plot.name}-', body)
    body = re.sub(r"url\(#", f"url(#{plot.name}-", body)
    body = re.sub(r'xlink:href="#', f'href="#{plot.name}-', body)
    for shade, variable in _SHADES.items():
        body = body.replace(shade, variable)
    largest = f"max-width: {float(width[1]) * _PX_PER_PT:.0f}px"
    label = escape(plot.title, quote=True)
    return f'<svg {view[0]} style="{largest}" role="img" aria-label="{label}">{body}'
