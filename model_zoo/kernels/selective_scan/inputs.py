"""What every form of the selective scan is given.

Legend: G directions, B batch, L tokens, E channels, N states of a channel.
"""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Final

import torch
from torch import Tensor

LOG2_E: Final = math.log2(math.e)  # e^x is 2 to the x LOG2_E


def accumulator_dtype(dtype: torch.dtype) -> torch.dtype:
    """What the state is kept in: float64 for float64, float32 for all else."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@dataclass(frozen=True, slots=True)
class ScanInputs:
    """Operands in the order of the operator's schema, any of them strided, and its options."""

    u: Tensor  # (G, B, L, E)
    delta: Tensor  # (G, B, L, E)
    A: Tensor  # (G, E, N)
    B: Tensor  # (G, B, L, N)
    C: Tensor  # (G, B, L, N)
    D: Tensor | None  # (G, E)
    z: Tensor | None  # (B, L, E)
    delta_bias: Tensor | None  # (G, E)
    _: KW_ONLY
    delta_softplus: bool
    reverse: Sequence[bool]

    @property
    def num_states(self) -> int:
        """N."""
        return self.A.shape[-1]

    @property
    def dtype(self) -> torch.dtype:
        """The accumulator's."""
        return accumulator_dtype(self.u.dtype)

    def empty_checkpoints(self, checkpoint_steps: int) -> Tensor:
        """Room for the state before every `checkpoint_steps`-th step, none if that is 0.

        The shape is (G, B, ceil(L / checkpoint_steps), N, E), in the order of each scan.
        """
        num_directions, batch, length, channels = self.u.shape
        num_checkpoints = -(-length // checkpoint_steps) if checkpoint_steps else 0
        shape = (num_directions, batch, num_checkpoints, self.num_states, channels)
        return self.u.new_empty(shape, dtype=self.dtype)
