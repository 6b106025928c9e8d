"""Classes of the motion benchmark, and what reversing time makes of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

# What changes -> the verb as it rises and the verb as it falls, the one the other's reversal.
# A pair of verbs is an entry here and whatever shows its attribute in a frame.
MOTIONS: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "x": ("move right", "move left"),
        "y": ("move down", "move up"),
        "scale": ("grow", "shrink"),
        "angle": ("turn clockwise", "turn counterclockwise"),
        "opacity": ("fade in", "fade out"),
        "opening": ("open", "close"),
        "course": ("accelerate", "decelerate"),
        "signal": ("flash flat then upright", "flash upright then flat"),
        "orbit": ("orbit clockwise", "orbit counterclockwise"),
        "gap": ("split", "merge"),
    }
)
NOUNS: Final = ("disc", "square", "triangle", "star", "cross", "ring", "hexagon", "crescent")
RATES: Final = ("once", "twice", "three times")


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    """The classes that the clips of a list may have.

    Attributes:
        attributes: Of a clip, each with its two verbs.
        rates: How often a verb may happen in a clip; empty if that is no label.
    """

    attributes: tuple[str, ...]
    rates: tuple[str, ...] = ()

    @property
    def verbs(self) -> tuple[str, ...]:
        """Every verb, a pair beside each other."""
        return tuple(verb for attribute in self.attributes for verb in MOTIONS[attribute])

    @property
    def heads(self) -> dict[str, tuple[str, ...]]:
        """Class names of each head."""
        heads = {"verb": self.verbs, "noun": NOUNS}
        return heads | {"rate": self.rates} if self.rates else heads

    @property
    def reversals(self) -> tuple[int, ...]:
        """The verb that each verb becomes if time is reversed."""
        return tuple(reversed_verb(verb) for verb in range(len(self.verbs)))


BASE: Final = Vocabulary(attributes=("x", "y", "scale", "angle", "opacity", "opening"))
EXTENDED: Final = Vocabulary(attributes=tuple(MOTIONS))
RATED: Final = Vocabulary(attributes=BASE.attributes, rates=RATES)
ATTRIBUTES: Final = BASE.attributes
VERBS: Final = BASE.verbs
HEADS: Final = BASE.heads


def reversed_verb(verb: int) -> int:
    """The class of a clip played backwards; verbs come in pairs.

    >>> VERBS[reversed_verb(VERBS.index("grow"))]
    'shrink'
    """
    return verb ^ 1


def attribute_of(verb: int) -> int:
    """The attribute that a verb moves, by its place in a vocabulary."""
    return verb // 2


def is_held_out(verb: int, noun: int) -> bool:
    """Whether a pair is kept out of training: 20 of 96, each verb with its reversal.

    >>> sum(is_held_out(verb, noun) for verb in range(12) for noun in range(8))
    20
    """
    return (attribute_of(verb) + noun) % 5 == 0
