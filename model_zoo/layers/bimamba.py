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

from model_zoo.kernels.pack_directions import Direction
from model_zoo.layers.both_ways import scan_both_ways
from model_zoo.layers.drop_path import DropPath, drop_path_rates
from model_zoo.layers.rms_norm import AddRMSNorm

EXPAND: Final = 2
NUM_STATES: Final = 16
CONV_WIDTH: Final = 4
CHANNELS_PER_RANK: Final = 16  # R = ceil(D / 16)
# Standard deviations of `draw_projections`, over one by the root of the inputs: the convolution's
# weights and the SiLU make what follows them smaller; steps begin within a factor of three.
UNIT_GAINS: Final = {"in_proj": 2.0, "x_proj": 4.0, "dt_proj": 0.5, "out_proj": 2.0}


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
        forward = _direction(self.conv1d, self.x_proj, self.dt_proj, self.A_log, self.D)
        backward = _direction(self.conv1d_b, self.x_proj_b, self.dt_proj_b, self.A_b_log, self.D_b)
        return self.out_proj(scan_both_ways(self.in_proj(x), forward, backward))


def _direction(
    conv: nn.Conv1d, x_proj: nn.Linear, dt_proj: nn.Linear, A_log: Tensor, D: Tensor
) -> Direction:
    assert conv.bias is not None
    return Direction(
        conv_weight=conv.weight,
        conv_bias=conv.bias,
        x_weight=x_proj.weight,
        dt_weight=dt_proj.weight,
        dt_bias=dt_proj.bias,
        A_log=A_log,
        D=D,
    )


class Block(nn.Module):
    """Add, normalise, mix: the sum of the branches is passed on beside the newest branch.

    Attributes:
        scale: Of the branch of every block, applied when it is added.
    """

    scale: ClassVar[float] = 1.0

    def __init__(self, dim: int, drop_path_rate: float) -> None:
        super().__init__()
        self.mixer = BiMamba(dim)
        self.norm = AddRMSNorm(dim)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, branch: Tensor, residual: Tensor | None) -> tuple[Tensor, Tensor]:
        """Add (B, L, D) to the residual (B, L, D) and mix; the first block's residual is None."""
        normed, residual = self.add(branch, residual, self.norm, self.drop_path)
        return self.mixer(normed), residual

    @classmethod
    def add(
        cls, branch: Tensor, residual: Tensor | None, norm: AddRMSNorm, drop_path: DropPath
    ) -> tuple[Tensor, Tensor]:
        """The normed sum and the sum; what no block has made is neither scaled nor dropped."""
        if residual is None:
            return norm(branch, None)
        kept = drop_path.sample_scale(branch)
        return norm(branch, residual, sample_scale=kept, scale=cls.scale)


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
        self.norm_f = AddRMSNorm(dim)

    def encode(self, tokens: Tensor, *, place: int = 0) -> Tensor:
        """The normalised token at `place` after all blocks: (B, L, D) -> (B, D)."""
        branch, residual = tokens, None
        for layer in self.layers:
            branch, residual = layer(branch, residual)
        token = None if residual is None else residual[:, place]
        normed, _ = self.block.add(branch[:, place], token, self.norm_f, self.drop_path)
        return normed


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


def draw_projections(model: BiMambaEncoder) -> None:
    """Draw the mixers' projections so large that gates, B and C are of the order of one at first.

    By `init_bimamba_weights` they are 0.2 and 0.05 in a block 128 wide: the gate is a straight line
    and a token reads less than a thousandth as much of another as of itself.
    """
    for layer in model.layers:
        assert isinstance(layer, Block)
        for name, module in layer.mixer.named_children():
            if isinstance(module, nn.Linear):
                gain = UNIT_GAINS[name.removesuffix("_b")]
                nn.init.normal_(module.weight, std=gain * module.in_features**-0.5)


def draw_step_sizes(model: BiMambaEncoder, smallest: float, largest: float) -> None:
    """Draw the step size of each channel at first, evenly on a logarithmic scale, as Mamba does."""
    for layer in model.layers:
        assert isinstance(layer, Block)
        for projection in (layer.mixer.dt_proj, layer.mixer.dt_proj_b):
            logarithms = torch.empty_like(projection.bias).uniform_(
                math.log(smallest), math.log(largest)
            )
            steps = logarithms.exp()
            with torch.no_grad():
                projection.bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # softplus inverted
