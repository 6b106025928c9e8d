"""TimeSformer: a ViT whose blocks attend over time and space in turn, jointly, or in space alone.

Paper arXiv:2102.05095. Reproduces facebookresearch/TimeSformer@a5ef29a (timesformer/models/vit.py).
Its own arrangement is kept: tokens stand in the order (class, places x frames), time fastest; the
class token has no time embedding and no part in attention over time, and after attention over
space its copies, one a frame, are averaged.

Deliberate differences:
- A table for a grid that is not square may be built, and is resized from its own grid; the official
  code takes square images when it builds. It decides by the number of places alone whether to
  resize, as we do: a 7 x 28 grid takes a 14 x 14 table as it is.
- One column of patches works: the official code there counts the class token as a row.

B clips, T frames, N = h * w places of a frame, D channels.
"""

from dataclasses import dataclass
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.attention import SelfAttention
from model_zoo.layers.drop_path import DropPath, drop_path_rates
from model_zoo.layers.mlp import Mlp

FAMILY: Final = Family(
    title="TimeSformer",
    paper="arXiv:2102.05095",
    repository="facebookresearch/TimeSformer@a5ef29a7b7264baff199a30b3306ac27de901133",
    licence="CC-BY-NC-4.0",
)

LAYER_NORM_EPS: Final = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeSformerConfig:
    """What distinguishes the variants.

    Attributes:
        scheme: ``divided`` attends over time, then space; ``joint`` over both at once; ``space``
            within each frame, and averages the frames at the end.
        drop_path_rate: Of the last block; rises linearly from 0.
    """

    dim: int = 768
    depth: int = 12
    num_heads: int = 12
    scheme: Literal["divided", "joint", "space"] = "divided"
    patch_size_px: int = 16
    mlp_ratio: int = 4
    drop_path_rate: float = 0.1


class Block(nn.Module):
    """Attention over all tokens of a sequence, then the perceptron."""

    def __init__(self, config: TimeSformerConfig, *, drop_path: float, attention: str) -> None:
        super().__init__()
        D = config.dim
        self.norm1 = nn.LayerNorm(D, eps=LAYER_NORM_EPS)
        self.attn = SelfAttention(D, config.num_heads, attention=attention)
        self.norm2 = nn.LayerNorm(D, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(D, config.mlp_ratio * D)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """Transform: (B, 1 + N*T, D), or (B*T, 1 + N, D), to the same shape."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class DividedBlock(Block):
    """Attention over time at each place, then over space in each frame, then the perceptron."""

    def __init__(self, config: TimeSformerConfig, *, drop_path: float, attention: str) -> None:
        super().__init__(config, drop_path=drop_path, attention=attention)
        D = config.dim
        self.temporal_norm1 = nn.LayerNorm(D, eps=LAYER_NORM_EPS)
        self.temporal_attn = SelfAttention(D, config.num_heads, attention=attention)
        self.temporal_fc = nn.Linear(D, D)

    def forward(self, x: Tensor, num_frames: int) -> Tensor:
        """Transform: (B, 1 + N*T, D) to the same shape, time varying fastest."""
        cls, patches = x[:, :1], x[:, 1:]
        patches = patches + self._over_time(patches, num_frames)
        x = torch.cat((cls, patches), dim=1) + self._over_space(cls, patches, num_frames)
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def _over_time(self, patches: Tensor, T: int) -> Tensor:
        """Residual of the patches: (B, N*T, D) to the same shape."""
        y = patches.reshape(-1, T, patches.shape[-1])  # (B*N, T, D)
        y = self.drop_path(self.temporal_attn(self.temporal_norm1(y)))
        return self.temporal_fc(y.reshape(patches.shape))  # (B, N*T, D)

    def _over_space(self, cls: Tensor, patches: Tensor, T: int) -> Tensor:
        """Residual of all tokens: (B, 1, D) and (B, N*T, D) -> (B, 1 + N*T, D)."""
        B, _, D = cls.shape
        y = patches.reshape(B, -1, T, D).transpose(1, 2)  # (B, T, N, D)
        y = torch.cat((cls.unsqueeze(1).expand(B, T, 1, D), y), dim=2)  # (B, T, 1 + N, D)
        y = self.drop_path(self.attn(self.norm1(y.flatten(0, 1))))  # (B*T, 1 + N, D)
        y = y.reshape(B, T, -1, D)  # (B, T, 1 + N, D)
        patches = y[:, :, 1:].transpose(1, 2).flatten(1, 2)  # (B, N*T, D)
        return torch.cat((y[:, :, 0].mean(dim=1, keepdim=True), patches), dim=1)


class PatchEmbed(nn.Module):
    """Project the patches of each frame."""

    def __init__(self, dim: int, patch_size_px: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch_size_px, stride=patch_size_px)

    def forward(self, clips: Tensor) -> Tensor:
        """Embed: (B, 3, T, H, W) -> (B*T, D, h, w); an incomplete patch at an edge is left out."""
        return self.proj(clips.transpose(1, 2).flatten(0, 1))


class VisionTransformer(nn.Module):
    """The whole network; `TimeSformer` only puts ``model.`` before its parameter names."""

    def __init__(self, config: TimeSformerConfig, options: Options) -> None:
        super().__init__()
        self.scheme = config.scheme
        self.patch_size_px = config.patch_size_px
        self.grid = self._grid_of(options.height_px, options.width_px)
        D = config.dim
        self.cls_token = nn.Parameter(torch.zeros(1, 1, D))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.grid[0] * self.grid[1], D))
        if self.scheme != "space":
            self.time_embed = nn.Parameter(torch.zeros(1, options.num_frames, D))
        self.patch_embed = PatchEmbed(D, config.patch_size_px)
        block = DividedBlock if self.scheme == "divided" else Block
        self.blocks = nn.ModuleList(
            block(config, drop_path=rate, attention=options.attention)
            for rate in drop_path_rates(config.drop_path_rate, config.depth)
        )
        self.norm = nn.LayerNorm(D, eps=LAYER_NORM_EPS)
        self.head = nn.Linear(D, options.one_head())
        self._initialise()

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes)."""
        B, _, T, H, W = clips.shape
        h, w = self._grid_of(H, W)
        x = self.patch_embed(clips).flatten(2).transpose(1, 2)  # (B*T, N, D)
        x = torch.cat((self.cls_token.expand(B * T, -1, -1), x), dim=1)  # (B*T, 1 + N, D)
        x = x + self._places(h, w)
        if self.scheme != "space":
            x = self._add_times(x, B, T)  # (B, 1 + N*T, D)
        for block in self.blocks:
            x = block(x, T)
        if self.scheme == "space":
            x = x.reshape(B, T, -1, x.shape[-1]).mean(dim=1)  # (B, 1 + N, D)
        return self.head(self.norm(x)[:, 0])

    def _grid_of(self, height_px: int, width_px: int) -> tuple[int, int]:
        if min(height_px, width_px) < self.patch_size_px:
            raise UnsupportedInputError(
                f"a side must be at least one patch of {self.patch_size_px} px: "
                f"{height_px} x {width_px}"
            )
        return height_px // self.patch_size_px, width_px // self.patch_size_px

    def _places(self, h: int, w: int) -> Tensor:
        """Class and place embeddings (1, 1 + h*w, D), the nearest entry of the table at each."""
        cls, places = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        if h * w == places.shape[1]:
            return self.pos_embed
        table = places.reshape(1, *self.grid, -1).permute(0, 3, 1, 2)  # (1, D, *grid)
        table = F.interpolate(table, size=(h, w), mode="nearest")
        return torch.cat((cls, table.flatten(2).transpose(1, 2)), dim=1)

    def _add_times(self, x: Tensor, B: int, T: int) -> Tensor:
        """Put the frames of a clip into one sequence: (B*T, 1 + N, D) -> (B, 1 + N*T, D)."""
        x = x.reshape(B, T, *x.shape[1:])  # (B, T, 1 + N, D)
        times: Tensor = self.time_embed
        if times.shape[1] != T:
            times = F.interpolate(times.transpose(1, 2), size=T, mode="nearest").transpose(1, 2)
        patches = x[:, :, 1:].transpose(1, 2) + times.unsqueeze(1)  # (B, N, T, D)
        return torch.cat((x[:, 0, :1], patches.flatten(1, 2)), dim=1)

    def _initialise(self) -> None:
        """As the official code: attention over time starts without effect."""
        for tensor in (self.cls_token, self.pos_embed):
            nn.init.trunc_normal_(tensor, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
        for block in self.blocks:
            if isinstance(block, DividedBlock):
                nn.init.zeros_(block.temporal_fc.weight)


class TimeSformer(nn.Module):
    """TimeSformer under its official parameter names, which begin with ``model.``."""

    def __init__(self, config: TimeSformerConfig, options: Options) -> None:
        super().__init__()
        self.model = VisionTransformer(config, options)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes).

        Tables made for another input are resized to this one's.
        """
        return self.model(clips)


@register_model(family=FAMILY, clip=(8, 224, 224))
def timesformer_tiny(options: Options) -> TimeSformer:
    """TimeSformer of DeiT-Ti's size, as VideoMamba's Figure 1 compares with, 8 x 224."""
    return TimeSformer(TimeSformerConfig(dim=192, num_heads=3), options)


@register_model(family=FAMILY, clip=(8, 224, 224))
def timesformer_tiny_joint(options: Options) -> TimeSformer:
    """Tiny with joint space-time attention, 8 x 224."""
    return TimeSformer(TimeSformerConfig(dim=192, num_heads=3, scheme="joint"), options)


@register_model(family=FAMILY, clip=(8, 224, 224))
def timesformer_tiny_space(options: Options) -> TimeSformer:
    """Tiny with attention within each frame only, 8 x 224."""
    return TimeSformer(TimeSformerConfig(dim=192, num_heads=3, scheme="space"), options)


@register_model(family=FAMILY, clip=(8, 224, 224))
def timesformer_base(options: Options) -> TimeSformer:
    """TimeSformer on ViT-B/16 with divided space-time attention, 8 x 224."""
    return TimeSformer(TimeSformerConfig(), options)


@register_model(family=FAMILY, clip=(8, 224, 224))
def timesformer_base_joint(options: Options) -> TimeSformer:
    """Base with joint space-time attention, 8 x 224."""
    return TimeSformer(TimeSformerConfig(scheme="joint"), options)


@register_model(family=FAMILY, clip=(8, 224, 224))
def timesformer_base_space(options: Options) -> TimeSformer:
    """Base with attention within each frame only, 8 x 224."""
    return TimeSformer(TimeSformerConfig(scheme="space"), options)


@register_model(family=FAMILY, clip=(16, 448, 448))
def timesformer_hr(options: Options) -> TimeSformer:
    """TimeSformer-HR: base at high resolution, 16 x 448."""
    return TimeSformer(TimeSformerConfig(), options)


@register_model(family=FAMILY, clip=(16, 448, 448))
def timesformer_hr_joint(options: Options) -> TimeSformer:
    """HR with joint space-time attention, 16 x 448."""
    return TimeSformer(TimeSformerConfig(scheme="joint"), options)


@register_model(family=FAMILY, clip=(16, 448, 448))
def timesformer_hr_space(options: Options) -> TimeSformer:
    """HR with attention within each frame only, 16 x 448."""
    return TimeSformer(TimeSformerConfig(scheme="space"), options)


@register_model(family=FAMILY, clip=(96, 224, 224))
def timesformer_large(options: Options) -> TimeSformer:
    """TimeSformer-L: base on long clips, 96 x 224."""
    return TimeSformer(TimeSformerConfig(), options)


@register_model(family=FAMILY, clip=(96, 224, 224))
def timesformer_large_joint(options: Options) -> TimeSformer:
    """L with joint space-time attention, 96 x 224."""
    return TimeSformer(TimeSformerConfig(scheme="joint"), options)


@register_model(family=FAMILY, clip=(96, 224, 224))
def timesformer_large_space(options: Options) -> TimeSformer:
    """L with attention within each frame only, 96 x 224."""
    return TimeSformer(TimeSformerConfig(scheme="space"), options)


@register_model(
    family=FAMILY,
    clip=(8, 32, 32),
    num_classes={"verb": 12, "noun": 8},
    label_space="motion",
)
def timesformer_nano(options: Options) -> TimeSformer:
    """For the motion benchmark: divided attention, 4 blocks of width 64, patches of 8 px."""
    config = TimeSformerConfig(dim=64, depth=4, num_heads=2, patch_size_px=8, drop_path_rate=0.0)
    return TimeSformer(config, options)
