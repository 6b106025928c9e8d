"""Signed distances of the nouns' outlines, negative inside, about one radius at the centre.

And textures, from 0 to 1, that take the place of the colour which tells a noun.
Coordinates are the object's own, in radii, x to the right and y down, arrays of any one shape.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Outline = Callable[[Floats, Floats], Floats]


def disc(x: Floats, y: Floats) -> Floats:
    """Of radius 0.95."""
    return np.hypot(x, y) - np.float32(0.95)


def square(x: Floats, y: Floats) -> Floats:
    """Of half-side 0.8."""
    return np.maximum(np.abs(x), np.abs(y)) - np.float32(0.8)


def triangle(x: Floats, y: Floats) -> Floats:
    """Equilateral, a corner up."""
    return np.maximum(np.float32(0.866) * np.abs(x) - np.float32(0.5) * y, y) - np.float32(0.52)


def hexagon(x: Floats, y: Floats) -> Floats:
    """Regular, a corner to the right."""
    across = np.float32(0.866) * np.abs(x) + np.float32(0.5) * np.abs(y)
    return np.maximum(across, np.abs(y)) - np.float32(0.85)


def star(x: Floats, y: Floats) -> Floats:
    """Of five points, one up."""
    sector = 2 * np.pi / 5
    angle = np.arctan2(x, -y)
    folded = np.abs((angle + sector / 2) % sector - sector / 2).astype(np.float32)
    radius = np.hypot(x, y)
    along, across = radius * np.cos(folded), radius * np.sin(folded)
    # The line from a point (1.05, 0) to the notch between two, at 0.48 and 36 degrees.
    notch_x, notch_y = 0.48 * np.cos(sector / 2), 0.48 * np.sin(sector / 2)
    normal_x, normal_y = notch_y, 1.05 - notch_x
    length = float(np.hypot(normal_x, normal_y))
    return np.asarray(((along - 1.05) * normal_x + across * normal_y) / length, dtype=np.float32)


def cross(x: Floats, y: Floats) -> Floats:
    """Of two bars."""
    wide, high = np.abs(x), np.abs(y)
    across = np.maximum(wide - np.float32(1), high - np.float32(0.34))
    along = np.maximum(wide - np.float32(0.34), high - np.float32(1))
    return np.asarray(np.minimum(across, along))


def ring(x: Floats, y: Floats) -> Floats:
    """An annulus."""
    return np.asarray(np.abs(np.hypot(x, y) - np.float32(0.72)) - np.float32(0.26))


def crescent(x: Floats, y: Floats) -> Floats:
    """A disc without a smaller one at its right."""
    whole = np.hypot(x, y) - np.float32(1)
    bite = np.float32(0.72) - np.hypot(x - np.float32(0.55), y)
    return np.asarray(np.maximum(whole, bite))


OUTLINES: Final[tuple[Outline, ...]] = (
    disc, square, triangle, star, cross, ring, hexagon, crescent,
)  # fmt: skip


def _wave(phase: Floats) -> Floats:
    """From 0 to 1 and back as the phase goes on by one, without a hard edge."""
    return np.asarray(0.5 + 0.5 * np.cos(np.float32(2 * np.pi) * phase), dtype=np.float32)


def plain(x: Floats, y: Floats) -> Floats:
    """None."""
    return np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=np.float32)


def flat_stripes(x: Floats, y: Floats) -> Floats:
    """Along x."""
    return _wave(np.float32(1.8) * y + 0 * x)


def upright_stripes(x: Floats, y: Floats) -> Floats:
    """Along y."""
    return _wave(np.float32(1.8) * x + 0 * y)


def slanted_stripes(x: Floats, y: Floats) -> Floats:
    """Along the diagonal."""
    return _wave(np.float32(1.27) * (x + y))


def checker(x: Floats, y: Floats) -> Floats:
    """Squares of two shades."""
    across, down = (np.cos(np.float32(3.6) * place) for place in (x, y))
    return np.asarray(0.5 + 0.5 * across * down, dtype=np.float32)


def dots(x: Floats, y: Floats) -> Floats:
    """Dark dots on a light ground."""
    return _wave(np.float32(1.5) * x) * _wave(np.float32(1.5) * y)


def rings(x: Floats, y: Floats) -> Floats:
    """Around the middle."""
    return _wave(np.float32(2.2) * np.hypot(x, y))


def rays(x: Floats, y: Floats) -> Floats:
    """Eight from the middle."""
    return _wave(np.float32(4 / np.pi) * np.arctan2(y, x))


TEXTURES: Final[tuple[Outline, ...]] = (
    plain, flat_stripes, upright_stripes, slanted_stripes, checker, dots, rings, rays,
)  # fmt: skip
