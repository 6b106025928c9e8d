"""Plots: each file draws one figure from the frame, if the frame holds what it needs."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from vbench.core.registry import Registry


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawing:
    """A figure and what to know when looking at it.

    Attributes:
        caption: Device, arithmetic, batch, mode and kind of what is drawn.
    """

    figure: Figure
    caption: str


Draw = Callable[[pd.DataFrame], Drawing]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plot:
    """A figure that can be asked for by name.

    Attributes:
        applies: Whether a frame (with derived rows) holds what the figure needs.
        order: Figures of one report go from the lowest to the highest.
    """

    name: str
    title: str
    draw: Draw
    applies: Callable[[pd.DataFrame], bool]
    order: int


PLOTS: Registry[Plot] = Registry("plot", package=__name__)


def plot(
    *, title: str, applies: Callable[[pd.DataFrame], bool], order: int = 50
) -> Callable[[Draw], Draw]:
    """Register the decorated function as a plot under its own name."""

    def register(function: Draw) -> Draw:
        name = function.__name__
        PLOTS.add(name, Plot(name=name, title=title, draw=function, applies=applies, order=order))
        return function

    return register
