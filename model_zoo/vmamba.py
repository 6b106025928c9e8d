"""VMamba: a pyramid of state-space blocks that scan an image along rows and columns, both ways.

Paper: arXiv:2401.10166, whose first version has the blocks that later tables quote as VMamba-T with
22 M parameters and 5.6 GFLOPs, and the current one those called ``s1l8``. Reproduces
MzeroMiko/VMamba@2ed52ea, ``vmamba.py``: ``vanilla_vmamba_tiny`` and ``vmamba_tiny_s1l8``.

Deliberate differences: clips of one frame (B, 3, 1, H, W) in place of images; channels stay last;
the scans of one axis read the tokens where they lie instead of flipped copies; scans take the
model's precision and keep their state in float32, where the vanilla code widens all operands. Not
cross-checked: released files (only their official loader was read).

Shapes: B images, H and W places of the stage's grid, L = H W, D channels, E channels inside the
mixer, R rank of the step size, N states, K = 4 scans: rows, columns, rows and columns reversed.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model
from model_zoo.kernels.selective_scan import selective_scan
from model_zoo.layers.drop_path import DropPath, drop_path_rates
from model_zoo.layers.mlp import Mlp

FAMILY = Family(
    title="VMamba",
    paper="arXiv:2401.10166",
    repository="MzeroMiko/VMamba@2ed52ead062a51a64521ed3871d52914bf532876",
    licence="MIT",
    has_attention=False,
)

_NUM_SCANS: Final = 4
_STEP_RANGE: Final = (0.001, 0.1)  # of the scans' step sizes in a new model


@dataclass(frozen=True, kw_only=True, slots=True)
class VMambaConfig:
    """Numbers of a variant; defaults are those of ``s1l8``.

    Attributes:
        dim: Of the first stage; doubles from stage to stage.
        expand: E / D.
        mlp_ratio: 0 for blocks without an MLP.
        is_vanilla: Blocks with a gate and no MLP, patches that do not overlap.
        drop_path_rate: Of the last block; rises linearly from 0.
    """

    dim: int = 96
    depths: tuple[int, int, int, int] = (2, 2, 8, 2)
    num_states: int = 1
    expand: int = 1
    mlp_ratio: int = 4
    is_vanilla: bool = False
    drop_path_rate: float = 0.2


class CrossScan(nn.Module):
    """Mix the places of a grid by four scans; named ``SS2D`` in the official code."""

    def __init__(self, dim: int, config: VMambaConfig) -> None:
        super().__init__()
        inner = config.expand * dim
        self.rank = math.ceil(dim / 16)
        self.num_states = config.num_states
        self.is_gated = config.is_vanilla
        self.in_proj = nn.Linear(dim, inner * (2 if self.is_gated else 1), bias=False)
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=config.is_vanilla)
        self._add_projections(inner)
        self.dt_projs_bias = nn.Parameter(_step_biases((_NUM_SCANS, inner)))
        log_rates = torch.arange(1.0, self.num_states + 1).log()
        self.A_logs = nn.Parameter(log_rates.repeat(_NUM_SCANS * inner, 1))  # (K * E, N)
        self.Ds = nn.Parameter(torch.ones(_NUM_SCANS * inner))
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, dim, bias=False)

    def _add_projections(self, inner: int) -> None:
        num_projected = self.rank + 2 * self.num_states
        self.x_proj = nn.Linear(inner, _NUM_SCANS * num_projected, bias=False)
        self.dt_projs = nn.Linear(self.rank, _NUM_SCANS * inner, bias=False)

    def _projections(self) -> tuple[Tensor, Tensor]:
        """Weights of tokens (K, R + 2 N, E) and of step sizes (K, E, R)."""
        shape = (_NUM_SCANS, -1)
        return self.x_proj.weight.unflatten(0, shape), self.dt_projs.weight.unflatten(0, shape)

    def forward(self, x: Tensor) -> Tensor:
        """Mix: (B, H, W, D) -> (B, H, W, D)."""
        x = self.in_proj(x)
        x, gate = x.chunk(2, dim=-1) if self.is_gated else (x, None)  # each (B, H, W, E)
        x = F.silu(self.conv2d(x.permute(0, 3, 1, 2))).permute(0, 2, 3, 1)  # (B, H, W, E)
        x_weight, dt_weight = self._projections()
        projected = F.linear(x, x_weight.flatten(0, 1)).unflatten(-1, (_NUM_SCANS, -1))
        A_logs = self.A_logs.unflatten(0, (_NUM_SCANS, -1))  # (K, E, N)
        A = -A_logs.to(torch.promote_types(A_logs.dtype, torch.float32)).exp()
        of_scans = (dt_weight, A, self.Ds.unflatten(0, (_NUM_SCANS, -1)), self.dt_projs_bias)
        rows = self._scan_both_ways(x, projected[..., 0::2, :], *(w[0::2] for w in of_scans))
        columns = self._scan_both_ways(
            x.transpose(1, 2),
            projected[..., 1::2, :].transpose(1, 2),
            *(w[1::2] for w in of_scans),
        ).transpose(1, 2)
        y = self.out_norm(rows + columns)
        return self.out_proj(y if gate is None else y * F.silu(gate))

    def _scan_both_ways(
        self, x: Tensor, projected: Tensor, dt_weight: Tensor, A: Tensor, D: Tensor, bias: Tensor
    ) -> Tensor:
        """Scan along the last place axis, and back: (B, H, W, E) -> (B, H, W, E).

        Args:
            projected: (B, H, W, 2, R + 2 N), for the scan forward and the scan back.
            dt_weight: (2, E, R).
            A: (2, E, N).
            D: (2, E), and bias too.
        """
        B, H, W, _ = x.shape
        tokens = x.flatten(1, 2)  # (B, L, E)
        projected = projected.flatten(1, 2).permute(2, 0, 1, 3)  # (2, B, L, R + 2 N)
        sizes = (self.rank, self.num_states, self.num_states)
        rank_dt, B_t, C_t = projected.split(sizes, dim=-1)
        delta = rank_dt.flatten(1, 2) @ dt_weight.transpose(1, 2)  # (2, B * L, E)
        y = selective_scan(
            tokens.expand(2, -1, -1, -1),
            delta.unflatten(1, (B, H * W)),
            A,
            B_t,
            C_t,
            D=D,
            delta_bias=bias,
            reverse=(False, True),
        )
        return y.unflatten(1, (H, W))


class VanillaCrossScan(CrossScan):
    """`CrossScan` under the names of the paper's first version."""

    def _add_projections(self, inner: int) -> None:
        num_projected = self.rank + 2 * self.num_states
        self.x_proj_weight = nn.Parameter(torch.empty(_NUM_SCANS, num_projected, inner))
        self.dt_projs_weight = nn.Parameter(torch.empty(_NUM_SCANS, inner, self.rank))
        bound = inner**-0.5
        nn.init.uniform_(self.x_proj_weight, -bound, bound)
        bound = self.rank**-0.5
        nn.init.uniform_(self.dt_projs_weight, -bound, bound)

    def _projections(self) -> tuple[Tensor, Tensor]:
        return self.x_proj_weight, self.dt_projs_weight


def _step_biases(shape: tuple[int, ...]) -> Tensor:
    """Biases whose softplus is log-uniform in `_STEP_RANGE`."""
    low, high = (math.log(step) for step in _STEP_RANGE)
    steps = torch.empty(shape).uniform_(low, high).exp()
    return steps + torch.log(-torch.expm1(-steps))


class Block(nn.Module):
    """Scans, and an MLP if the variant has one, each after a norm and around a residual."""

    def __init__(self, dim: int, config: VMambaConfig, *, drop_path_rate: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.op = (VanillaCrossScan if config.is_vanilla else CrossScan)(dim, config)
        self.drop_path = DropPath(drop_path_rate)
        self.mlp = None
        if config.mlp_ratio:
            self.norm2 = nn.LayerNorm(dim)
            self.mlp = Mlp(dim, config.mlp_ratio * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Transform: (B, H, W, D) -> (B, H, W, D)."""
        x = x + self.drop_path(self.op(self.norm(x)))
        return x if self.mlp is None else x + self.drop_path(self.mlp(self.norm2(x)))


class ChannelsFirst(nn.Module):
    """Make ready for a convolution: (B, H, W, C) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Permute."""
        return x.permute(0, 3, 1, 2)


class ChannelsLast(nn.Module):
    """Undo `ChannelsFirst`: (B, C, H, W) -> (B, H, W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Permute."""
        return x.permute(0, 2, 3, 1)


class Merge2x2(nn.Module):
    """Join places two by two: (B, H, W, C) -> (B, H / 2, W / 2, 4 C)."""

    def forward(self, x: Tensor) -> Tensor:
        """Join in the order of Swin: down first, then right."""
        parities = ((0, 0), (1, 0), (0, 1), (1, 1))
        return torch.cat([x[:, row::2, column::2] for row, column in parities], dim=-1)


def _patch_embed(config: VMambaConfig) -> nn.Sequential:
    """Images to the first grid, a quarter as fine; numbered as in the official code."""
    dim = config.dim
    if config.is_vanilla:
        return nn.Sequential(nn.Conv2d(3, dim, 4, stride=4), ChannelsLast(), nn.LayerNorm(dim))
    return nn.Sequential(
        nn.Conv2d(3, dim // 2, 3, stride=2, padding=1),
        ChannelsLast(),
        nn.LayerNorm(dim // 2),
        nn.GELU(),
        ChannelsFirst(),
        nn.Conv2d(dim // 2, dim, 3, stride=2, padding=1),
        ChannelsLast(),
        nn.LayerNorm(dim),
    )


def _downsample(dim: int, config: VMambaConfig) -> nn.Sequential:
    """A grid to one half as fine with twice the channels; numbered as in the official code."""
    if config.is_vanilla:
        return nn.Sequential(
            Merge2x2(), nn.LayerNorm(4 * dim), nn.Linear(4 * dim, 2 * dim, bias=False)
        )
    return nn.Sequential(
        ChannelsFirst(),
        nn.Conv2d(dim, 2 * dim, 3, stride=2, padding=1),
        ChannelsLast(),
        nn.LayerNorm(2 * dim),
    )


class Classifier(nn.Module):
    """Norm, mean over places, linear classifier."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify: (B, H, W, D) -> (B, num_classes)."""
        return self.head(self.norm(x).mean(dim=(1, 2)))


class VMamba(nn.Module):
    """Images (B, 3, 1, H, W) to logits (B, num_classes). No table depends on their size."""

    def __init__(self, config: VMambaConfig, options: Options) -> None:
        super().__init__()
        self.config = config
        clip = (options.num_frames, options.height_px, options.width_px)
        _require_image(config, clip)
        self.patch_embed = _patch_embed(config)
        rates = iter(drop_path_rates(config.drop_path_rate, sum(config.depths)))
        self.layers = nn.ModuleList()
        for stage, depth in enumerate(config.depths):
            dim = config.dim << stage
            blocks = [Block(dim, config, drop_path_rate=next(rates)) for _ in range(depth)]
            is_last = stage == len(config.depths) - 1
            parts = {
                "blocks": nn.Sequential(*blocks),
                "downsample": nn.Identity() if is_last else _downsample(dim, config),
            }
            self.layers.append(nn.Sequential(OrderedDict(parts)))
        self.classifier = Classifier(config.dim << (len(config.depths) - 1), options.one_head())
        self.apply(_initialise)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, 1, H, W) -> (B, num_classes).

        Raises:
            UnsupportedInputError: More than one frame, or a size that cannot be halved.
        """
        _require_image(self.config, tuple(clips.shape[2:]))
        x = self.patch_embed(clips.squeeze(2))
        for layer in self.layers:
            x = layer(x)
        return self.classifier(x)


def _require_image(config: VMambaConfig, clip: tuple[int, ...]) -> None:
    num_frames, *sides_px = clip
    if num_frames != 1:
        raise UnsupportedInputError(f"an image model takes clips of 1 frame, not: {num_frames}")
    # Where a grid is odd, the official merging pads it to sizes that it then cannot join.
    halved = 2 ** (len(config.depths) - 1)
    if config.is_vanilla and any(side < 4 * halved or side // 4 % halved for side in sides_px):
        raise UnsupportedInputError(
            f"height and width must hold a multiple of {halved} patches of 4 px, "
            f"got: {sides_px[0]} x {sides_px[1]}"
        )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@register_model(family=FAMILY, clip=(1, 224, 224), num_classes=1000, label_space="imagenet1k")
def vmamba_tiny(options: Options) -> VMamba:
    """Vanilla VMamba-T, the one that VideoMamba compares with: 15 gated blocks without MLPs."""
    config = VMambaConfig(
        depths=(2, 2, 9, 2), num_states=16, expand=2, mlp_ratio=0, is_vanilla=True
    )
    return VMamba(config, options)


@register_model(family=FAMILY, clip=(1, 224, 224), num_classes=1000, label_space="imagenet1k")
def vmamba_tiny_s1l8(options: Options) -> VMamba:
    """VMamba-T of the paper's last version: 14 blocks with MLPs, 1 state a channel."""
    return VMamba(VMambaConfig(), options)
