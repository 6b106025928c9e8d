"""White marks that show the attributes of the extended verbs, in every clip of their lists.

A satellite with a dark core goes around the object (``orbit``), two dots lie apart (``gap``), a
flat and an upright bar light up in turn (``signal``). They are there whatever the verb is, so that
a frame with them tells none, and on a torus like the object. ``course`` shows in no frame: it is
how far the object has come on a trip whose speed rises with the way. Lengths are of a side.
Legend: T frames, S side in pixels.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vbench.accuracy.motion.schedule import Floats, Schedule

DIRECTIONS: Final = ((1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1))
ORBIT_RADIUS: Final = 0.3
SATELLITE_RADIUS: Final = (0.08, 0.035)  # of it and of its core
DOT_RADIUS: Final = 0.06
HALF_GAP: Final = (0.06, 0.22)  # smallest and largest
BAR: Final = (0.13, 0.045)  # half of its length and of its breadth
LIT: Final = ((0.0, 0.25), (0.25, 0.5))  # values of the signal at which each bar is lit
WHITE: Final = np.float32(1)
BLACK: Final = np.float32(0)


def displaced(
    rng: np.random.Generator, x: Floats, y: Floats, course: Floats
) -> tuple[Floats, Floats]:
    """The object's place on its trip: once around the torus, in any of eight directions.

    A trip and its opposite are as likely, so that it is the change of speed alone which tells the
    verbs apart: rising values go slowly first, falling ones come back fast first.
    """
    right, down = DIRECTIONS[int(rng.integers(len(DIRECTIONS)))]
    way = course * course
    return (x + right * way) % 1, (y + down * way) % 1


def paint(rng: np.random.Generator, frames: Floats, x: Floats, y: Floats, drawn: Schedule) -> None:
    """Draw all marks into `frames` (T, S, S, 3), in place; `x` and `y` are the object's, (T,)."""
    angle = 2 * np.pi * drawn.of("orbit")
    satellite = x + ORBIT_RADIUS * np.cos(angle), y + ORBIT_RADIUS * np.sin(angle)
    for radius, shade in zip(SATELLITE_RADIUS, (WHITE, BLACK), strict=True):
        _blend(frames, _disc(frames, *satellite, radius), shade)
    places = rng.random((3, 2), dtype=np.float32)
    axis = np.pi * rng.random()
    half = HALF_GAP[0] + (HALF_GAP[1] - HALF_GAP[0]) * drawn.of("gap")
    for side in (-1, 1):
        dot = places[0, 0] + side * half * np.cos(axis), places[0, 1] + side * half * np.sin(axis)
        _blend(frames, _disc(frames, *dot, DOT_RADIUS), WHITE)
    signal = drawn.of("signal")
    for place, half_sides, (low, high) in zip(places[1:], (BAR, BAR[::-1]), LIT, strict=True):
        is_lit = (low <= signal) & (signal < high)
        bar = _bar(frames, np.full_like(x, place[0]), np.full_like(y, place[1]), half_sides)
        _blend(frames, bar * is_lit[:, None, None], WHITE)


def _disc(
    frames: Floats, x: NDArray[np.floating], y: NDArray[np.floating], radius: float
) -> Floats:
    across, down = _distances(frames, x, y)
    return _inside(np.hypot(across, down) - np.float32(radius), frames)


def _bar(frames: Floats, x: Floats, y: Floats, half_sides: tuple[float, float]) -> Floats:
    across, down = _distances(frames, x, y)
    wide, high = (np.float32(half) for half in half_sides)
    return _inside(np.maximum(across - wide, down - high), frames)


def _distances(
    frames: Floats, x: NDArray[np.floating], y: NDArray[np.floating]
) -> tuple[Floats, Floats]:
    """From a place at each frame to every column, (T, 1, S), and every row, (T, S, 1)."""
    side_px = frames.shape[1]
    pixels = (np.arange(side_px, dtype=np.float32) + 0.5) / side_px
    across, down = (
        np.abs((pixels - place.astype(np.float32)[:, None] + 0.5) % 1 - 0.5) for place in (x, y)
    )
    return across[:, None, :], down[:, :, None]


def _inside(distance: Floats, frames: Floats) -> Floats:
    """Share of each pixel inside an outline: (T, S, S)."""
    return np.asarray(np.clip(0.5 - distance * frames.shape[1], 0, 1), dtype=np.float32)


def _blend(frames: Floats, alpha: Floats, shade: np.float32) -> None:
    touched = alpha > 0
    under = frames[touched]
    frames[touched] = under + alpha[touched][:, None] * (shade - under)
