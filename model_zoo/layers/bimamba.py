"""Bidirectional Mamba blocks, as Vim and VideoMamba stack them.

Papers: arXiv:2401.09417 (Vim), arXiv:2403.06977 (VideoMamba). Parameters are named as in
OpenGVLab/VideoMamba@f3427e4, ``mamba/mamba_ssm/modules/mamba_simple.py`` with ``bimamba=True``.

Differences from the official code, none of which changes the result: both directions go through
one convolution, one scan and one gate, which read their operands where they lie instead of
flipped and transposed copies.

Shapes: B batch, L tokens, D channels of a token, E = 2 D channels inside the mixer, R rank of the
step size, N states, K taps, G = 2 directions (the second runs from the last token to the first).
"""

import math
from typing import ClassVar, Final

import torch
from torch import Tensor, nn

from model_zoo.kernels.causal_conv1d import causal_conv1d
from model_zoo.kernels.selective_scan import selective_scan
from model_zoo.layers.drop_path import DropPath, drop_path_rates
from model_zoo.layers.rms_norm import RMSNorm

EXPAND: Final = 2
NUM_STATES: Final = 16
CONV_WIDTH: Final = 4
CHANNELS_PER_RANK: Final = 16  # R = ceil(D / 16)
REVERSE: Final = (False, True)


class BiMamba(nn.Module):
    """Mix tokens by two selective scans, one from each end; ``_b`` marks the backward one's."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        inner = EXPAND * dim
        self.rank = math.ceil(dim / CHANNELS_PER_RANK)
        num_projected = self.rank + 2 * NUM_STATES
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv1d = nn.Conv1d(inner, inner, CONV_WIDTH, groups=inner)
        self.conv1d_b = nn.Conv1d(inner, inner, CONV_WIDTH, groups=inner)
        self.x_proj = nn.Linear(inner, num_projected, bias=False)
        self.x_proj_b = nn.Linear(inner, num_projected, bias=False)
        self.dt_proj = nn.Linear(self.rank, inner)
        self.dt_proj_b = nn.Linear(self.rank, inner)
        # not torch.arange: on the meta device its first call imports a compiler, for four seconds
        log_rates = torch.tensor([math.log(n + 1) for n in range(NUM_STATES)]).repeat(inner, 1)
        self.A_log = nn.Parameter(log_rates)
        self.A_b_log = nn.Parameter(log_rates.clone())
        self.D = nn.Parameter(torch.ones(inner))
        self.D_b = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Mix: (B, L, D) -> (B, L, D)."""
        B, L, _ = x.shape
        x, z = self.in_proj(x).chunk(2, dim=-1)  # each (B, L, E)
        conv_weight = torch.stack((self.conv1d.weight, self.conv1d_b.weight)).squeeze(2)
        conv_bias = _stack(self.conv1d.bias, self.conv1d_b.bias)
        u = causal_conv1d(x, conv_weight, conv_bias, reverse=REVERSE)  # (G, B, L, E)

        x_weight = torch.stack((self.x_proj.weight, self.x_proj_b.weight))  # (G, R + 2 N, E)
        projected = u.flatten(1, 2) @ x_weight.transpose(1, 2)  # (G, B * L, R + 2 N)
        rank_dt, B_t, C_t = projected.split((self.rank, NUM_STATES, NUM_STATES), dim=-1)
        dt_weight = torch.stack((self.dt_proj.weight, self.dt_proj_b.weight))  # (G, E, R)
        delta = rank_dt @ dt_weight.transpose(1, 2)  # (G, B * L, E)

        A_log = torch.stack((self.A_log.t(), self.A_b_log.t()))  # (G, N, E), as the scan walks it
        y = selective_scan(
            u,
            delta.unflatten(1, (B, L)),
            -_widened(A_log).exp().transpose(1, 2),  # (G, E, N)
            B_t.unflatten(1, (B, L)),
            C_t.unflatten(1, (B, L)),
            D=torch.stack((self.D, self.D_b)),
            z=z,
            delta_bias=_stack(self.dt_proj.bias, self.dt_proj_b.bias),
            reverse=REVERSE,
        )
        return self.out_proj(y)


class Block(nn.Module):
    """Add, normalise, mix: the sum of the branches is passed on beside the newest branch."""

    def __init__(self, dim: int, drop_path_rate: float) -> None:
        super().__init__()
        self.mixer = BiMamba(dim)
        self.norm = RMSNorm(dim)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, branch: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        """Add (B, L, D) to the residual (B, L, D) and mix; the first block's residual is None."""
        residual = _widened(branch) if residual is None else residual + self.drop_path(branch)
        return self.mixer(self.norm(residual).to(branch.dtype)), residual


class BiMambaEncoder(nn.Module):
    """Base of models that read a class token off a stack of blocks: ``layers``, ``norm_f``.

    The residual is kept in float32 whatever the precision (float64 in float64).

    Args:
        drop_path_rate: Of the last addition; block i + 1 has the i-th of as many rates as blocks.
    """

    block: ClassVar[type[Block]] = Block

    def __init__(self, dim: int, depth: int, drop_path_rate: float) -> None:
        super().__init__()
        rates = [0.0, *drop_path_rates(drop_path_rate, depth)]
        self.layers = nn.ModuleList(self.block(dim, rates[i]) for i in range(depth))
        self.drop_path = DropPath(rates[depth])
        self.norm_f = RMSNorm(dim)

    def encode(self, tokens: Tensor, *, place: int = 0) -> Tensor:
        """The normalised token at `place` after all blocks: (B, L, D) -> (B, D)."""
        branch, residual = tokens, None
        for layer in self.layers:
            branch, residual = layer(branch, residual)
        token = self.drop_path(branch[:, place])
        token = _widened(token) if residual is None else residual[:, place] + token
        return self.norm_f(token).to(branch.dtype)


def init_bimamba_weights(model: BiMambaEncoder) -> None:
    """Initialise as the official code does, including that it zeroes the bias of the step size."""
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for layer in model.layers:
        assert isinstance(layer, Block)
        weight = layer.mixer.out_proj.weight
        bound = (weight.shape[1] * len(model.layers)) ** -0.5
        nn.init.uniform_(weight, -bound, bound)


def _stack(forward: Tensor | None, backward: Tensor | None) -> Tensor:
    assert forward is not None
    assert backward is not None
    return torch.stack((forward, backward))


def _widened(x: Tensor) -> Tensor:
    """`x` in float32 if it is narrower."""
    return x if x.dtype == torch.float64 else x.float()
