"""Tables that tell tokens apart by their place."""

import torch
from torch import Tensor


def sinusoid_table(num_positions: int, dim: int) -> Tensor:
    """Sines and cosines of each position in turn (arXiv:1706.03762, section 3.5): (1, N, D).

    Computed in float64 and rounded to float32, as the official code of VideoMAE does; whoever
    adds the table casts it, also in a float64 model.
    """
    channel = torch.arange(dim)
    period = 10000.0 ** (2 * (channel // 2).double() / dim)  # (D,)
    angle = torch.arange(num_positions).double()[:, None] / period  # (N, D)
    table = torch.where(channel % 2 == 0, angle.sin(), angle.cos())
    return table.float()[None]
