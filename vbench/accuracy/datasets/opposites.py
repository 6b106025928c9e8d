"""Classes whose opposite is a class too, found by the words that make the difference.

The names are the user's own; only words of direction are written here.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final

Swap = tuple[tuple[str, str], ...]  # phrases that change places together
NO_REVERSAL: Final = -1


def opposite_places(classes: Sequence[str], swaps: Mapping[str, Swap]) -> dict[str, dict[int, int]]:
    """For each swap, the place of the opposite of each class that has one.

    >>> swaps = {"left/right": (("left", "right"),), "in/out": (("in", "out"),)}
    >>> opposite_places(["Swiping Left", "Swiping Right", "Zooming In"], swaps)
    {'left/right': {0: 1, 1: 0}, 'in/out': {}}
    """
    places = {name.lower(): place for place, name in enumerate(classes)}
    found: dict[str, dict[int, int]] = {}
    for title, swap in swaps.items():
        opposites = {place: places.get(swapped(name, swap)) for name, place in places.items()}
        found[title] = {a: b for a, b in opposites.items() if b is not None and a != b}
    return found


def swapped(name: str, swap: Swap) -> str:
    """A name with the phrases of a swap in each other's place; itself if one is missing.

    >>> swapped("pulling it from left to right", (("left", "right"),))
    'pulling it from right to left'
    >>> swapped("putting a into b", (("putting", "taking"), ("into", "out of")))
    'taking a out of b'
    """
    others = dict(swap) | {b: a for a, b in swap}
    phrases = sorted(others, key=len, reverse=True)
    pattern = re.compile(r"\b(" + "|".join(map(re.escape, phrases)) + r")\b")
    met = set(pattern.findall(name))
    if any(not met & {a, b} for a, b in swap):
        return name
    return pattern.sub(lambda match: others[match.group()], name)


def reversals(opposites: Mapping[str, Mapping[int, int]], num_classes: int) -> tuple[int, ...]:
    """What each class becomes if time is reversed: its opposite, `NO_REVERSAL` if it has none.

    >>> reversals({"left/right": {0: 1, 1: 0}}, 3)
    (1, 0, -1)
    """
    joined: dict[int, int] = {}
    for pairs in opposites.values():
        for place, other in pairs.items():
            joined.setdefault(place, other)
    return tuple(joined.get(place, NO_REVERSAL) for place in range(num_classes))
