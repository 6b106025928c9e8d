"""Names beside the points of a scatter, where they cover neither points nor each other."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from matplotlib.axes import Axes

from vbench.report import canvas

_CHARACTER_PT: Final = 5.2
_HEIGHT_PT: Final = 10.0
_MARKER_PT: Final = 4.0
_BAR_PT: Final = 2.0
_NEAR_PT: Final = 7.0
_RINGS_PT: Final = (7.0, 13.0, 20.0, 28.0, 38.0, 50.0, 64.0)
_NUM_DIRECTIONS: Final = 24
_LEADER_FROM_PT: Final = 12.0
_LEADER_STEP_PT: Final = 3.0

# What a place costs, against a square point of something covered.
_OF_OUTSIDE: Final = 4.0
_OF_DISTANCE: Final = 1.5
_OF_CROSSING: Final = 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Point:
    """A point with a name, in data coordinates.

    Attributes:
        low: Lower end of its bar; `high` the upper one.
        is_optional: Whether the name may be left out where there is no room beside the point.
    """

    x: float
    y: float
    low: float
    high: float
    text: str
    colour: str
    is_optional: bool = False


class Box(NamedTuple):
    """A rectangle on the page, in points."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        """Area in common."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    def outside(self, frame: "Box") -> float:
        """Area that lies beyond `frame`."""
        whole = (self.right - self.left) * (self.top - self.bottom)
        return whole - self.overlap(frame)

    def nearest(self, x: float, y: float) -> tuple[float, float]:
        """The place of its edge that a line from (x, y) comes to first."""
        return min(max(x, self.left), self.right), min(max(y, self.bottom), self.top)

    def holds(self, x: float, y: float) -> bool:
        """Whether a place lies in it."""
        return self.left <= x <= self.right and self.bottom <= y <= self.top


def label_points(axes: Axes, points: Sequence[Point], *, keep_clear: Sequence[float] = ()) -> None:
    """Name every point that must be named, the most crowded first, then those that find room.

    The limits of the axes must be final.

    Args:
        axes: Where the points are.
        points: All that are drawn, with or without room for a name.
        keep_clear: Heights of horizontal lines, in data coordinates.
    """
    to_pt = 72 / axes.figure.dpi

    def on_page(x: float, y: float) -> tuple[float, float]:
        across, up = axes.transData.transform((x, y)) * to_pt
        return float(across), float(up)

    corners = [axes.transAxes.transform(corner) * to_pt for corner in ((0, 0), (1, 1))]
    frame = Box(*map(float, (*corners[0], *corners[1])))
    places = [on_page(point.x, point.y) for point in points]
    taken = [
        Box(frame.left, on_page(points[0].x, y)[1] - 1, frame.right, on_page(points[0].x, y)[1] + 1)
        for y in keep_clear
        if points
    ]
    for point, (x, y) in zip(points, places, strict=True):
        low, high = on_page(point.x, point.low)[1], on_page(point.x, point.high)[1]
        taken.append(Box(x - _MARKER_PT, y - _MARKER_PT, x + _MARKER_PT, y + _MARKER_PT))
        taken.append(Box(x - _BAR_PT, low, x + _BAR_PT, high))
    for i in _most_crowded_first(points, places):
        place, text = places[i], canvas.label_text(points[i].text)
        best = _best(place, text, taken, frame, only_near=points[i].is_optional)
        if best is not None:
            taken += [best, *_line(place, best)]
            _draw(axes, points[i], place, best)


def _most_crowded_first(
    points: Sequence[Point], places: Sequence[tuple[float, float]]
) -> list[int]:
    def crowd(i: int) -> float:
        return sum(1 / (10 + math.dist(places[i], place)) for place in places)

    return sorted(range(len(points)), key=lambda i: (points[i].is_optional, -crowd(i)))


def _best(
    place: tuple[float, float], text: str, taken: Sequence[Box], frame: Box, *, only_near: bool
) -> Box | None:
    """The place of least cost; of an optional name None unless it covers nothing at all."""
    rings = _RINGS_PT[:2] if only_near else _RINGS_PT
    found = [
        (covered + _OF_DISTANCE * _distance(place, box), covered, box)
        for box in _candidates(place, len(text) * _CHARACTER_PT, rings)
        for covered in [_covered(place, box, taken, frame)]
    ]
    _, covered, box = min(found, key=lambda one: one[0])
    return None if only_near and covered > 0 else box


def _covered(place: tuple[float, float], box: Box, taken: Sequence[Box], frame: Box) -> float:
    area = sum(box.overlap(other) for other in taken) + _OF_OUTSIDE * box.outside(frame)
    crossed = sum(
        other.holds(step.left, step.bottom)
        for step in _line(place, box)
        for other in taken
        if not other.holds(*place)
    )
    return area + _OF_CROSSING * crossed


def _candidates(place: tuple[float, float], width: float, rings: Sequence[float]) -> Iterator[Box]:
    """Boxes around a point, straight right first, that touch rings of growing width."""
    x, y = place
    for ring in rings:
        for step in range(_NUM_DIRECTIONS):
            angle = 2 * math.pi * step / _NUM_DIRECTIONS
            across, up = math.cos(angle), math.sin(angle)
            middle_x = x + across * (ring + width / 2)
            middle_y = y + up * (ring + _HEIGHT_PT / 2)
            left, bottom = middle_x - width / 2, middle_y - _HEIGHT_PT / 2
            yield Box(left, bottom, left + width, bottom + _HEIGHT_PT)


def _distance(place: tuple[float, float], box: Box) -> float:
    return max(math.dist(place, box.nearest(*place)) - _NEAR_PT, 0.0)


def _line(place: tuple[float, float], box: Box) -> list[Box]:
    """The line from a point to a name that does not stand beside it, in small pieces."""
    end = box.nearest(*place)
    length = math.dist(place, end)
    if length <= _LEADER_FROM_PT:
        return []
    pieces = []
    for step in range(2, int(length / _LEADER_STEP_PT)):
        share = step * _LEADER_STEP_PT / length
        x, y = (a + share * (b - a) for a, b in zip(place, end, strict=True))
        pieces.append(Box(x, y, x + 1, y + 1))
    return pieces


def _draw(axes: Axes, point: Point, place: tuple[float, float], box: Box) -> None:
    x, y = place
    axes.annotate(
        canvas.label_text(point.text),
        (point.x, point.y),
        xytext=((box.left + box.right) / 2 - x, (box.bottom + box.top) / 2 - y),
        textcoords="offset points",
        va="center",
        ha="center",
        fontsize=canvas.LABEL_SIZE - (1 if point.is_optional else 0),
        color=point.colour,
        zorder=4,
    )
    end = box.nearest(x, y)
    if math.dist(place, end) > _LEADER_FROM_PT:
        axes.annotate(
            "",
            (point.x, point.y),
            xytext=(end[0] - x, end[1] - y),
            textcoords="offset points",
            arrowprops={
                "arrowstyle": "-",
                "color": point.colour,
                "linewidth": 0.6,
                "alpha": 0.7,
                "shrinkA": 0,
                "shrinkB": 4,
            },
        )
