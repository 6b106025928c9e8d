"""Video Swin: attention inside 3-D windows that shift by half a window every other block.

Paper: arXiv:2106.13230. Reproduces SwinTransformer/Video-Swin-Transformer@db018fb,
``mmaction/models/backbones/swin_transformer.py`` and ``heads/i3d_head.py``.

Deliberate differences: the shift mask is added to the position bias before both are added to the
scores, so that a fused kernel can take them as one; it is not computed where nothing shifts.

Shapes: B clips, T frames or temporal places, H and W pixels or places, C channels, K windows of
N places each.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.attention import attend
from model_zoo.layers.drop_path import DropPath, drop_path_rates
from model_zoo.layers.mlp import Mlp

FAMILY = Family(
    title="Video Swin Transformer",
    paper="arXiv:2106.13230",
    repository="SwinTransformer/Video-Swin-Transformer@db018fb",
    licence="Apache-2.0",
)

Size3d = tuple[int, int, int]

_MASKED = -100.0  # finite, as in the official code: a masked place keeps a weight of e ** -100


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoSwinConfig:
    """Dimensions of a variant, one number a stage where there are four.

    Attributes:
        patch: Frames, pixels, pixels of a token.
        window: Temporal, vertical, horizontal places of a window; (16, 7, 7) on SSv2.
        drop_path_rate: Of the last block; rises linearly from 0.
        dropout: Before the classifier.
    """

    dim: int = 96
    depths: tuple[int, int, int, int] = (2, 2, 6, 2)
    num_heads: tuple[int, int, int, int] = (3, 6, 12, 24)
    patch: Size3d = (2, 4, 4)
    window: Size3d = (8, 7, 7)
    mlp_ratio: int = 4
    drop_path_rate: float = 0.1
    dropout: float = 0.5


class PatchEmbed(nn.Module):
    """A token for each block of pixels, then a norm; zeros fill up the last blocks."""

    def __init__(self, patch: Size3d, dim: int) -> None:
        super().__init__()
        self.patch = patch
        self.proj = nn.Conv3d(3, dim, patch, stride=patch)
        self.norm = nn.LayerNorm(dim)

    def forward(self, clips: Tensor) -> Tensor:
        """Embed: (B, 3, T, H, W) -> (B, T', H', W', C)."""
        (_, _, T, H, W), (t, h, w) = clips.shape, self.patch
        x = F.pad(clips, (0, -W % w, 0, -H % h, 0, -T % t))
        return self.norm(self.proj(x).permute(0, 2, 3, 4, 1))


class PatchMerging(nn.Module):
    """Half as many places along H and W, twice as many channels; odd sides are padded."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Merge 2 x 2 places: (B, T, H, W, C) -> (B, T, ceil(H / 2), ceil(W / 2), 2C)."""
        H, W = x.shape[2:4]
        x = F.pad(x, (0, 0, 0, W % 2, 0, H % 2))
        parities = ((0, 0), (1, 0), (0, 1), (1, 1))
        x = torch.cat([x[:, :, row::2, column::2] for row, column in parities], dim=-1)
        return self.reduction(self.norm(x))


class WindowAttention(nn.Module):
    """Multi-head attention inside each window, with a learned bias for each relative offset."""

    relative_position_index: Tensor

    def __init__(self, dim: int, num_heads: int, window: Size3d, *, attention: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention = attention
        num_offsets = math.prod(2 * side - 1 for side in window)
        self.relative_position_bias_table = nn.Parameter(torch.zeros(num_offsets, num_heads))
        self.register_buffer("relative_position_index", _relative_position_index(window))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Attend: (B, K, N, C) -> (B, K, N, C).

        Args:
            mask: (K, N, N), added to every head's scores.
        """
        B, K, N, C = x.shape
        heads = self.num_heads
        qkv = self.qkv(x).reshape(B, K, N, 3, heads, C // heads).permute(3, 0, 1, 4, 2, 5)
        bias = self._position_bias(N)  # (heads, N, N)
        # Four axes, since fused kernels take no more; a mask joins windows to the heads, not to
        # the clips, so that the bias is as large for one clip as for many.
        if mask is None:
            q, k, v = qkv.flatten(1, 2).unbind(0)  # each (B * K, heads, N, C / heads)
        else:
            q, k, v = qkv.flatten(2, 3).unbind(0)  # each (B, K * heads, N, C / heads)
            bias = (bias + mask.unsqueeze(1)).flatten(0, 1)  # (K * heads, N, N)
        y = attend(q, k, v, backend=self.attention, bias=bias.unsqueeze(0))
        y = y.reshape(B, K, heads, N, C // heads).transpose(2, 3)  # (B, K, N, heads, C / heads)
        return self.proj(y.reshape(B, K, N, C))

    def _position_bias(self, num_places: int) -> Tensor:
        # A window clipped by a small input takes the full window's first rows, as the official
        # code does. If it is clipped in space, these are other places' offsets.
        index = self.relative_position_index[:num_places, :num_places]
        return self.relative_position_bias_table[index].permute(2, 0, 1)  # (heads, N, N)


def _relative_position_index(window: Size3d) -> Tensor:
    """Row of the bias table for each pair of places: (N, N)."""
    axes = [torch.arange(side) for side in window]
    places = torch.cartesian_prod(*axes)  # (N, 3)
    offsets = places[:, None] - places[None]  # (N, N, 3)
    row = torch.zeros_like(offsets[..., 0])
    for axis, side in enumerate(window):
        row = row * (2 * side - 1) + offsets[..., axis] + side - 1
    return row


@dataclass(frozen=True, kw_only=True, slots=True)
class Windows:
    """How a grid of places is cut into windows, straight or shifted.

    Attributes:
        size: Of the grid, before zeros fill up its last windows.
        window: Not larger than the grid.
        shift: 0 along an axis that one window covers.
    """

    size: Size3d
    window: Size3d
    shift: Size3d

    @property
    def padded(self) -> Size3d:
        """The size in whole windows."""
        T, H, W = (n + -n % side for n, side in zip(self.size, self.window, strict=True))
        return T, H, W

    def cut(self, x: Tensor, *, is_shifted: bool) -> Tensor:
        """Cut a grid: (B, T, H, W, C) -> (B, K, N, C)."""
        (T, H, W), (t, h, w) = self.padded, self.window
        B, C = x.shape[0], x.shape[-1]
        x = F.pad(x, (0, 0, 0, W - x.shape[3], 0, H - x.shape[2], 0, T - x.shape[1]))
        if is_shifted and any(self.shift):
            x = torch.roll(x, [-step for step in self.shift], dims=(1, 2, 3))
        x = x.reshape(B, T // t, t, H // h, h, W // w, w, C)
        x = x.permute(0, 1, 3, 5, 2, 4, 6, 7)  # (B, T / t, H / h, W / w, t, h, w, C)
        return x.reshape(B, -1, t * h * w, C)  # (B, K, N, C)

    def join(self, x: Tensor, *, is_shifted: bool) -> Tensor:
        """Undo `cut`: (B, K, N, C) -> (B, T, H, W, C)."""
        (T, H, W), (t, h, w) = self.padded, self.window
        B, C = x.shape[0], x.shape[-1]
        x = x.reshape(B, T // t, H // h, W // w, t, h, w, C)
        x = x.permute(0, 1, 4, 2, 5, 3, 6, 7)  # (B, T / t, t, H / h, h, W / w, w, C)
        x = x.reshape(B, T, H, W, C)
        if is_shifted and any(self.shift):
            x = torch.roll(x, self.shift, dims=(1, 2, 3))
        return x[:, : self.size[0], : self.size[1], : self.size[2]]

    def mask(self, like: Tensor) -> Tensor | None:
        """What keeps places apart that only the shift made neighbours: (K, N, N), 0 or -100.

        An axis that shifts has three regions: all but the last window, that window up to where
        the roll wrapped around, and what was wrapped. Zeros that fill up windows are in none of
        their own: they take part as keys, as in the official code.
        """
        if not any(self.shift):
            return None
        region = torch.zeros(1, 1, 1, 1, 1, dtype=torch.int64, device=like.device)
        for axis, (n, side, step) in enumerate(
            zip(self.padded, self.window, self.shift, strict=True)
        ):
            place = torch.arange(n, device=like.device)
            if step:
                along = (place >= n - side).long() + (place >= n - step).long()
            else:
                along = torch.zeros_like(place)
            shape = [1] * 5
            shape[1 + axis] = n
            region = 3 * region + along.reshape(shape)  # grows to (1, T, H, W, 1)
        regions = self.cut(region, is_shifted=False)[0, ..., 0]  # (K, N)
        differs = regions[:, :, None] != regions[:, None, :]  # (K, N, N)
        return differs.to(like.dtype) * _MASKED


def windows_of(size: Size3d, window: Size3d) -> Windows:
    """Windows clipped to a grid: an axis that one window covers never shifts.

    >>> windows_of((8, 14, 5), (8, 7, 7))
    Windows(size=(8, 14, 5), window=(8, 7, 5), shift=(0, 3, 0))
    """
    t, h, w = map(min, size, window)
    i, j, k = (0 if n <= side else side // 2 for n, side in zip(size, window, strict=True))
    return Windows(size=size, window=(t, h, w), shift=(i, j, k))


class Block(nn.Module):
    """Windowed attention and an MLP, each after a norm and around a residual connection."""

    def __init__(
        self,
        dim: int,
        num_heads: int,
        config: VideoSwinConfig,
        *,
        is_shifted: bool,
        drop_path_rate: float,
        attention: str,
    ) -> None:
        super().__init__()
        self.is_shifted = is_shifted
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, config.window, attention=attention)
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, config.mlp_ratio * dim)

    def forward(self, x: Tensor, windows: Windows, mask: Tensor | None) -> Tensor:
        """Relate places near each other: (B, T, H, W, C) -> (B, T, H, W, C).

        Args:
            mask: Of `windows`, used if this block shifts them.
        """
        y = windows.cut(self.norm1(x), is_shifted=self.is_shifted)
        y = self.attn(y, mask if self.is_shifted else None)
        x = x + self.drop_path(windows.join(y, is_shifted=self.is_shifted))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Stage(nn.Module):
    """Blocks on one grid, every second one shifted, then the step to the next grid."""

    def __init__(
        self,
        config: VideoSwinConfig,
        index: int,
        *,
        drop_path_rates: list[float],
        attention: str,
    ) -> None:
        super().__init__()
        dim = config.dim << index
        self.window = config.window
        self.blocks = nn.ModuleList(
            Block(
                dim,
                config.num_heads[index],
                config,
                is_shifted=depth % 2 == 1,
                drop_path_rate=rate,
                attention=attention,
            )
            for depth, rate in enumerate(drop_path_rates)
        )
        is_last = index == len(config.depths) - 1
        self.downsample = nn.Identity() if is_last else PatchMerging(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Apply: (B, T, H, W, C) -> (B, T, H / 2, W / 2, 2C), the same shape in the last stage."""
        windows = windows_of((x.shape[1], x.shape[2], x.shape[3]), self.window)
        mask = windows.mask(x)
        for block in self.blocks:
            x = block(x, windows, mask)
        return self.downsample(x)


class Backbone(nn.Module):
    """Everything before the pooling; named so in released checkpoints."""

    def __init__(self, config: VideoSwinConfig, *, attention: str) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config.patch, config.dim)
        rates = iter(drop_path_rates(config.drop_path_rate, sum(config.depths)))
        self.layers = nn.ModuleList(
            Stage(
                config,
                index,
                drop_path_rates=[next(rates) for _ in range(depth)],
                attention=attention,
            )
            for index, depth in enumerate(config.depths)
        )
        self.norm = nn.LayerNorm(config.dim << (len(config.depths) - 1))

    def forward(self, clips: Tensor) -> Tensor:
        """Extract features: (B, 3, T, H, W) -> (B, T', H', W', C)."""
        x = self.patch_embed(clips)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class Head(nn.Module):
    """Mean over all places, dropout, linear classifier."""

    def __init__(self, dim: int, num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.fc_cls = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify: (B, T, H, W, C) -> (B, num_classes)."""
        x = x.mean(dim=(1, 2, 3))  # (B, C)
        return self.fc_cls(F.dropout(x, self.dropout, self.training))


class VideoSwin(nn.Module):
    """Backbone and head. Nothing but cost depends on the clip's size: zeros fill up any."""

    def __init__(self, config: VideoSwinConfig, options: Options) -> None:
        super().__init__()
        self.window = config.window
        self.backbone = Backbone(config, attention=options.attention)
        dim = config.dim << (len(config.depths) - 1)
        self.cls_head = Head(dim, options.one_head(), dropout=config.dropout)
        self.apply(_initialise)
        nn.init.normal_(self.cls_head.fc_cls.weight, std=0.01)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes).

        Raises:
            UnsupportedInputError: Not five axes.
        """
        if clips.ndim != 5:
            raise UnsupportedInputError(
                f"clips must be (B, 3, T, H, W), not of shape: {tuple(clips.shape)}"
            )
        return self.cls_head(self.backbone(clips))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


@register_model(family=FAMILY, clip=(32, 224, 224))
def video_swin_tiny(options: Options) -> VideoSwin:
    """12 blocks, 96 channels at first, 28.2 M parameters."""
    return VideoSwin(VideoSwinConfig(), options)


@register_model(family=FAMILY, clip=(32, 224, 224))
def video_swin_small(options: Options) -> VideoSwin:
    """24 blocks, 96 channels at first, 49.8 M parameters."""
    return VideoSwin(VideoSwinConfig(depths=(2, 2, 18, 2)), options)


@register_model(family=FAMILY, clip=(32, 224, 224))
def video_swin_base(options: Options) -> VideoSwin:
    """24 blocks, 128 channels at first, 88.0 M parameters."""
    config = VideoSwinConfig(
        dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), drop_path_rate=0.3
    )
    return VideoSwin(config, options)


@register_model(
    family=FAMILY,
    clip=(8, 32, 32),
    num_classes={"verb": 12, "noun": 8},
    label_space="motion",
)
def video_swin_nano(options: Options) -> VideoSwin:
    """For the motion benchmark: 6 blocks, 24 channels at first, windows of 4 x 4 x 4."""
    config = VideoSwinConfig(
        dim=24,
        depths=(2, 2, 1, 1),
        num_heads=(1, 2, 4, 8),
        window=(4, 4, 4),
        drop_path_rate=0.0,
        dropout=0.0,
    )
    return VideoSwin(config, options)
