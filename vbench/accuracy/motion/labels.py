"""Classes of the motion benchmark, and what reversing time makes of them."""

from typing import Final

ATTRIBUTES: Final = ("x", "y", "scale", "angle", "opacity", "opening")
VERBS: Final = (
    "move right", "move left",
    "move down", "move up",
    "grow", "shrink",
    "turn clockwise", "turn counterclockwise",
    "fade in", "fade out",
    "open", "close",
)  # fmt: skip
NOUNS: Final = ("disc", "square", "triangle", "star", "cross", "ring", "hexagon", "crescent")
HEADS: Final = {"verb": VERBS, "noun": NOUNS}
NUM_ACTIONS: Final = len(VERBS) * len(NOUNS)


def reversed_verb(verb: int) -> int:
    """The class of a clip played backwards; verbs come in pairs.

    >>> VERBS[reversed_verb(VERBS.index("grow"))]
    'shrink'
    """
    return verb ^ 1


def attribute_of(verb: int) -> int:
    """The attribute that a verb moves, by its place in `ATTRIBUTES`."""
    return verb // 2


def is_held_out(verb: int, noun: int) -> bool:
    """Whether a pair is kept out of training: 20 of 96, each verb with its reversal.

    >>> sum(is_held_out(verb, noun) for verb in range(12) for noun in range(8))
    20
    """
    return (attribute_of(verb) + noun) % 5 == 0
