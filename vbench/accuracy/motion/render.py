"""Frames of a clip from its schedule, deterministic: the same bytes on every machine's numpy.

Legend: T frames, S side in pixels.
"""

import colorsys
import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vbench.accuracy.motion import marks, schedule, shapes
from vbench.accuracy.motion.labels import ATTRIBUTES, EXTENDED, NOUNS
from vbench.accuracy.motion.schedule import Difficulty, Floats

GENERATOR_VERSION: Final = 1
NUM_FRAMES: Final = 32
FRAMES_PER_S: Final = 16
SIDE_PX: Final = 112

RADIUS: Final = (0.16, 0.36)  # of a side, smallest and largest
OPACITY_FLOOR: Final = 0.2
DOT_RADIUS: Final = 0.26  # in radii of the object, as what follows
DOT_Y: Final = -0.58
MOUTH_WIDTH: Final = 0.5
MOUTH_HEIGHT: Final = (0.04, 0.42)
MOUTH_Y: Final = 0.26
HUE_JITTER: Final = 0.03
TEXTURE_DEPTH: Final = np.float32(0.7)  # of the colour that its darkest place takes away


def clip(
    key: str,
    *,
    verb: int,
    noun: int,
    difficulty: Difficulty,
    attributes: tuple[str, ...] = ATTRIBUTES,
    side_px: int = SIDE_PX,
) -> NDArray[np.uint8]:
    """Render the clip that `key` names: (T, S, S, 3), RGB.

    Args:
        key: Seeds all that is random in it.
        verb: Class.
        noun: Class.
        attributes: Of the vocabulary that the verb is of.
        side_px: S.
    """
    seed = int.from_bytes(hashlib.sha256(f"{GENERATOR_VERSION}/{key}".encode()).digest()[:8])
    rng = np.random.Generator(np.random.PCG64(seed))
    drawn = schedule.draw(
        rng, verb=verb, num_frames=NUM_FRAMES, difficulty=difficulty, attributes=attributes
    )
    is_extended = attributes == EXTENDED.attributes
    x, y = drawn.of("x"), drawn.of("y")
    if is_extended:
        x, y = marks.displaced(rng, x, y, drawn.of("course"))
    if difficulty.jitter:
        shake = rng.normal(0, difficulty.jitter, (2, NUM_FRAMES)).astype(np.float32)
        x, y = x + shake[0], y + shake[1]
    frames = _background(rng, difficulty, side_px)  # (T, S, S, 3)
    texture = shapes.TEXTURES[noun] if difficulty.noun_mode == "texture" else None
    _paint(frames, x, y, drawn.values, noun, _colour(rng, noun, difficulty), texture)
    if is_extended:
        marks.paint(rng, frames, x, y, drawn)
    if difficulty.flicker:
        frames *= 1 + rng.normal(0, difficulty.flicker, (NUM_FRAMES, 1, 1, 1)).astype(np.float32)
    if difficulty.noise:
        frames += np.float32(difficulty.noise) * rng.standard_normal(frames.shape, dtype=np.float32)
    return np.asarray(np.clip(frames * 255 + 0.5, 0, 255), dtype=np.uint8)


def _colour(rng: np.random.Generator, noun: int, difficulty: Difficulty) -> Floats:
    hue, saturation, value = rng.random(3)
    own = noun / len(NOUNS) + HUE_JITTER * (2 * hue - 1)
    rgb = colorsys.hsv_to_rgb(
        (own if difficulty.noun_mode == "colour" else hue) % 1,
        0.75 + 0.25 * saturation,
        0.75 + 0.25 * value,
    )
    return np.asarray(rgb, dtype=np.float32)


def _background(rng: np.random.Generator, difficulty: Difficulty, side_px: int) -> Floats:
    """Grey, periodic in space, and the same whichever way time runs: (T, S, S, 3)."""
    level = rng.uniform(0.1, 0.35)
    frames = np.full((NUM_FRAMES, side_px, side_px, 3), level, dtype=np.float32)
    if difficulty.background in ("texture", "moving"):
        frames += _texture(rng, side_px, is_moving=difficulty.background == "moving")
    if difficulty.background == "distractors":
        for _ in range(2):
            still = np.repeat(rng.random((6, 1)).astype(np.float32), NUM_FRAMES, axis=1)
            still[:2] = _to_and_fro(rng)
            still[2] *= 0.3  # small
            grey = np.full(3, rng.uniform(0.4, 0.8), dtype=np.float32)
            _paint(frames, still[0], still[1], still, int(rng.integers(len(NOUNS))), grey)
    return frames


def _to_and_fro(rng: np.random.Generator) -> Floats:
    """Two triangle waves of random phase: (2, T)."""
    time = np.arange(NUM_FRAMES) / NUM_FRAMES + rng.random((2, 1))
    return np.asarray(1 - np.abs(2 * (time % 1) - 1), dtype=np.float32)


def _texture(rng: np.random.Generator, side_px: int, *, is_moving: bool) -> Floats:
    """Low-frequency waves, which swing to and fro if `is_moving`: (T or 1, S, S, 1)."""
    place = np.arange(side_px, dtype=np.float32) / side_px
    shift = _to_and_fro(rng) if is_moving else np.zeros((2, 1), dtype=np.float32)
    total = np.zeros((shift.shape[1], side_px, side_px), dtype=np.float32)
    for _ in range(4):
        waves_x, waves_y = rng.integers(-3, 4, 2)
        angle = waves_x * (place[None, None, :] + shift[0, :, None, None]) + waves_y * (
            place[None, :, None] + shift[1, :, None, None]
        )
        total += np.cos(2 * np.pi * (angle + rng.random())).astype(np.float32)
    return 0.03 * total[..., None]


def _paint(
    frames: Floats,
    x: Floats,
    y: Floats,
    values: Floats,
    noun: int,
    colour: Floats,
    texture: shapes.Outline | None = None,
) -> None:
    """Blend an object into `frames` in place; it re-enters where it leaves."""
    side_px = frames.shape[1]
    radius = RADIUS[0] + (RADIUS[1] - RADIUS[0]) * values[2]
    opacity = OPACITY_FLOOR + (1 - OPACITY_FLOOR) * values[4]
    opening = MOUTH_HEIGHT[0] + (MOUTH_HEIGHT[1] - MOUTH_HEIGHT[0]) * values[5]
    turn = 2 * np.pi * values[3]
    place = (np.arange(side_px, dtype=np.float32) + 0.5) / side_px
    for frame in range(len(frames)):
        # Only the square that holds the object is drawn, wherever it lies on the torus.
        reach = int(np.ceil(1.15 * radius[frame] * side_px)) + 1
        columns = (int(x[frame] * side_px) + np.arange(-reach, reach + 1)) % side_px
        rows = (int(y[frame] * side_px) + np.arange(-reach, reach + 1)) % side_px
        dx = ((place[columns] - x[frame] + 0.5) % 1 - 0.5)[None, :] / radius[frame]
        dy = ((place[rows] - y[frame] + 0.5) % 1 - 0.5)[:, None] / radius[frame]
        cos, sin = np.cos(turn[frame]), np.sin(turn[frame])
        own_x, own_y = cos * dx + sin * dy, cos * dy - sin * dx
        sharpness = radius[frame] * side_px  # a pixel's soft edge
        body = _inside(shapes.OUTLINES[noun](own_x, own_y), sharpness)
        dot = _inside(np.hypot(own_x, own_y - np.float32(DOT_Y)) - DOT_RADIUS, sharpness)
        mouth_y = (own_y - np.float32(MOUTH_Y)) / (opening[frame] / MOUTH_WIDTH)
        mouth = _inside(np.hypot(own_x, mouth_y) - MOUTH_WIDTH, sharpness / 2)
        paint = np.broadcast_to(colour, (*body.shape, 3)).copy()
        if texture is not None:
            paint *= 1 - TEXTURE_DEPTH * texture(own_x, own_y)[..., None]
        paint += (1 - paint) * dot[..., None]
        paint *= 1 - np.float32(0.95) * mouth[..., None]
        alpha = (opacity[frame] * np.maximum(np.maximum(body, dot), mouth))[..., None]
        where = np.ix_(np.atleast_1d([frame]), rows, columns)
        under = frames[where][0]
        frames[where] = (under + alpha * (paint - under))[None]


def _inside(distance: Floats, sharpness: float) -> Floats:
    """Share of a pixel inside an outline, of its distance in radii."""
    return np.asarray(np.clip(0.5 - distance * sharpness, 0, 1), dtype=np.float32)
