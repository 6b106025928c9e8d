"""What Vision-RWKV and the models built on it share: the shift of a token's channels, channel mix.

Source: Vision-RWKV, arXiv:2403.02308, and OpenGVLab/Vision-RWKV@0e0e38a,
``classification/mmcls_custom/models/backbones/vrwkv.py`` and ``vrwkv6.py``. Parameters are named as
there; `spatial_mix_*` weigh a token against its neighbours.

Shapes: B batch, N tokens, H x W grid, D channels, G groups of them.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def q_shift(tokens: Tensor, grid: tuple[int, int], *, num_groups: int = 1) -> Tensor:
    """Move each group's quarters of channels here from the left, right, upper and lower neighbour.

    What lies outside the grid is zero. Channels beyond four equal quarters stay.

    Args:
        tokens: (B, H * W, D), row by row; the result too.
        grid: (H, W).
        num_groups: 1, or the heads of a multi-head shift.
    """
    B, N, D = tokens.shape
    H, W = grid
    size = D // num_groups
    x = tokens.reshape(B, H, W, num_groups, size)
    left, right, up, down, rest = x.split((*[size // 4] * 4, size - size // 4 * 4), dim=-1)
    # F.pad counts axes from the last: quarter, group, W, H
    shifted = (
        F.pad(left[:, :, :-1], (0, 0, 0, 0, 1, 0)),
        F.pad(right[:, :, 1:], (0, 0, 0, 0, 0, 1)),
        F.pad(up[:, :-1], (0, 0, 0, 0, 0, 0, 1, 0)),
        F.pad(down[:, 1:], (0, 0, 0, 0, 0, 0, 0, 1)),
        rest,
    )
    return torch.cat(shifted, dim=-1).reshape(B, N, D)


def mix(x: Tensor, neighbours: Tensor, share: Tensor) -> Tensor:
    """Weigh a token against its neighbours, `share` being its own part."""
    return torch.lerp(neighbours, x, share.to(x.dtype))


class ChannelMix(nn.Module):
    """A gated perceptron whose hidden units are squared ReLUs."""

    def __init__(self, dim: int, hidden_dim: int, *, own_share: Tensor) -> None:
        super().__init__()
        self.spatial_mix_k = nn.Parameter(own_share.clone())
        self.spatial_mix_r = nn.Parameter(own_share.clone())
        self.key = nn.Linear(dim, hidden_dim, bias=False)
        self.receptance = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(hidden_dim, dim, bias=False)

    def forward(self, x: Tensor, shift: Callable[[Tensor], Tensor]) -> Tensor:
        """Mix: (B, N, D) -> (B, N, D), neighbours being what `shift` brings."""
        neighbours = shift(x)
        receptance, value = self.of_mixed(
            mix(x, neighbours, self.spatial_mix_k), mix(x, neighbours, self.spatial_mix_r)
        )
        return torch.sigmoid(receptance) * value

    def of_mixed(self, for_key: Tensor, for_receptance: Tensor) -> tuple[Tensor, Tensor]:
        """Receptance before its sigmoid, and what that gates: each (B, N, D).

        Args:
            for_key: Tokens weighed against their neighbours, (B, N, D); `for_receptance` too.
        """
        hidden = F.relu(self.key(for_key)).square()
        return self.receptance(for_receptance), self.value(hidden)


def own_share(dim: int, layer: int, depth: int, *, power: float = 1.0) -> Tensor:
    """Initial shares: rising over the channels, later layers taking more of a token: (1, 1, D)."""
    return (torch.arange(dim) / dim).pow(power * (1 - layer / depth))[None, None]


def depth_ratio(layer: int, depth: int) -> float:
    """Place of a layer in the stack, from 0 to 1."""
    return layer / max(depth - 1, 1)
