"""How a model is fitted: the same for every architecture.

What makes the order of frames learnable is, first, Muon for all matrices, and every clip beside its
reversal, so that whatever is the same in both cancels out of the gradient; then easy clips before
medium ones. CONTRIBUTING.md says what was tried.
"""

import math
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from vbench.core.errors import UsageError

Positive = Annotated[int, Meta(ge=1)]


class Recipe(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that decides a fit but the model and the data.

    Attributes:
        steps: Batches.
        batch_clips: Of a batch: half of them drawn, half their reversals.
        learning_rate: Highest; rises over `warmup_steps`, then falls to 0 along a cosine.
        weight_decay: Of matrices and kernels, not of biases, norms and tables.
        clip_norm: Longest gradient.
        verb_weight: Of the cross-entropy of what is seen in motion, verb and rate, in the loss;
            `noun_weight` of the noun's.
        medium_share: Of the clips drawn at the end; none before the first `medium_from` of the
            steps, and rising for as long again.
        seed: Of the weights, the order of clips and the augmentation.
    """

    steps: Positive = 2_000
    batch_clips: Annotated[int, Meta(ge=2, multiple_of=2)] = 32
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    weight_decay: float = 0.05
    clip_norm: float = 1.0
    verb_weight: float = 1.0
    noun_weight: float = 0.5
    medium_share: Annotated[float, Meta(ge=0, le=1)] = 0.5
    medium_from: Annotated[float, Meta(gt=0, le=1)] = 0.3
    seed: int = 0

    @property
    def head_weights(self) -> dict[str, float]:
        """Of each head's cross-entropy."""
        of_motion = dict.fromkeys(("verb", "rate"), self.verb_weight)
        return of_motion | {"noun": self.noun_weight}

    def learning_rate_at(self, step: int) -> float:
        """Of a step, from 0."""
        rising = min(1.0, (step + 1) / max(self.warmup_steps, 1))
        falling = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        return self.learning_rate * rising * falling

    def medium_share_at(self, step: int) -> float:
        """Share of medium clips among those drawn at a step, from 0."""
        done = step / self.steps
        rising = min(max(done / self.medium_from - 1, 0.0), 1.0)
        return self.medium_share * rising

    def as_json(self) -> str:
        """One line, keys in order."""
        return msgspec.json.encode(self, order="sorted").decode()


def recipe_with(**asked: Any) -> Recipe:
    """The recipe with what is not None in its place.

    Raises:
        UsageError: A value that no recipe can have.
    """
    wanted = {key: value for key, value in asked.items() if value is not None}
    try:
        return msgspec.convert(wanted, Recipe)
    except msgspec.ValidationError as error:
        raise UsageError(f"no such recipe: {error}") from None
