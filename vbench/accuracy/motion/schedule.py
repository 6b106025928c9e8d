"""Each attribute of a clip over time, such that no frame and no set of frames tells the verb.

Legend: T frames, A attributes.
"""

from dataclasses import dataclass
from typing import Annotated, Final

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from vbench.accuracy.motion.labels import ATTRIBUTES, attribute_of

Floats = NDArray[np.float32]
BACKGROUNDS: Final = ("flat", "texture", "moving", "distractors")
NOUN_MODES: Final = ("colour", "shape", "texture")


class Difficulty(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What makes a list of clips hard; none of it tells a verb from its reversal.

    Attributes:
        num_movers: Attributes beside the verb's that move to and fro.
        noise: Standard deviation of each pixel, of a range of 1.
        background: One of `BACKGROUNDS`.
        noun_mode: ``colour`` gives each noun a hue beside its shape, ``texture`` a texture of
            random hue, ``shape`` nothing else.
        jitter: Standard deviation of the camera's place at each frame, of a side.
        flicker: Standard deviation of the brightness of each frame.
        num_cycles: Of the verb in a clip.
    """

    num_movers: Annotated[int, Meta(ge=0, le=len(ATTRIBUTES) - 1)] = 0
    noise: Annotated[float, Meta(ge=0)] = 0.015
    background: str = "flat"
    noun_mode: str = "colour"
    jitter: Annotated[float, Meta(ge=0)] = 0.0
    flicker: Annotated[float, Meta(ge=0)] = 0.0
    num_cycles: Annotated[int, Meta(ge=1)] = 1

    def __post_init__(self) -> None:
        if self.background not in BACKGROUNDS:
            raise ValueError(f"background must be one of {BACKGROUNDS}: {self.background}")
        if self.noun_mode not in NOUN_MODES:
            raise ValueError(f"noun_mode must be one of {NOUN_MODES}: {self.noun_mode}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """Attributes over time.

    Attributes:
        attributes: Their names.
        values: Of [0, 1), shape (A, T).
        movers: Places in `attributes` of those that go to and fro.
    """

    attributes: tuple[str, ...]
    values: Floats
    movers: tuple[int, ...]

    def of(self, attribute: str) -> Floats:
        """One attribute over time: (T,)."""
        return np.asarray(self.values[self.attributes.index(attribute)])


def draw(
    rng: np.random.Generator,
    *,
    verb: int,
    num_frames: int,
    difficulty: Difficulty,
    attributes: tuple[str, ...] = ATTRIBUTES,
) -> Schedule:
    """Draw a clip of `verb`.

    The verb's attribute is a sawtooth of random phase, rising for even classes and falling for
    odd ones; movers are triangle waves of random phase; the rest are constant. Every attribute is
    uniform at every frame, alone and together with the others and the noun.

    An order of two events is such a sawtooth too, one event a quarter of a cycle after the other.
    It could not be had in a clip that does not wrap around: if A always came before B, A would come
    earlier on the whole, and a frame's place in the clip with the event it shows would tell.
    """
    num_attributes = len(attributes)
    time = (np.arange(num_frames) + rng.random()) / num_frames
    phase = rng.random(num_attributes)
    own = attribute_of(verb)
    others = [place for place in range(num_attributes) if place != own]
    movers = rng.permutation(others)[: difficulty.num_movers]
    values = np.repeat(phase[:, None], num_frames, axis=1)  # (A, T)
    forwards = verb % 2 == 0
    cycles = difficulty.num_cycles
    values[own] = ((cycles * time if forwards else -cycles * time) + phase[own]) % 1
    for mover in movers:
        values[mover] = 1 - np.abs(2 * ((time + phase[mover]) % 1) - 1)
    return Schedule(
        attributes=attributes,
        values=values.astype(np.float32),
        movers=tuple(sorted(int(m) for m in movers)),
    )
