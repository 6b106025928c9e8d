"""Vision-RWKV: a ViT whose attention is a linear, bidirectional average with decay (Bi-WKV).

Paper: arXiv:2403.02308. Follows OpenGVLab/Vision-RWKV@0e0e38a,
``classification/mmcls_custom/models/backbones/vrwkv.py`` and, for the head,
``configs/vrwkv/vrwkv_tiny_8xb128_in1k.py``. No class token: the mean token is classified. A learned
position table is resized (bicubic) for frames of another size than the model was built for.

Deliberate differences: Bi-WKV follows the paper's equation, from which the official CUDA kernels
deviate by about 1e-3 (see `model_zoo.kernels.bi_wkv`), also by an epsilon of 1e-6; clips of one
frame (B, 3, 1, H, W) in place of images.

Shapes: B images, H x W patches, N = H W tokens, D channels.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model
from model_zoo.kernels.bi_wkv import bi_wkv
from model_zoo.layers.drop_path import DropPath, drop_path_rates
from model_zoo.layers.rwkv import ChannelMix, depth_ratio, mix, own_share, q_shift

FAMILY = Family(
    title="Vision-RWKV",
    paper="arXiv:2403.02308",
    repository="OpenGVLab/Vision-RWKV@0e0e38a6fd4475ae3817e14420ab85fab08d9097",
    licence="Apache-2.0",
    has_attention=False,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class VisionRWKVConfig:
    """Numbers of a variant; defaults are the tiny one's."""

    dim: int = 192
    depth: int = 12
    patch_px: int = 16
    hidden_rate: float = 4.0
    drop_path_rate: float = 0.0


class PatchEmbed(nn.Module):
    """Project each patch to a token; zeros fill up patches at the right and lower end."""

    def __init__(self, dim: int, patch_px: int) -> None:
        super().__init__()
        self.patch_px = patch_px
        self.projection = nn.Conv2d(3, dim, kernel_size=patch_px, stride=patch_px)

    def grid(self, height_px: int, width_px: int) -> tuple[int, int]:
        """Patches along height and width."""
        return -(-height_px // self.patch_px), -(-width_px // self.patch_px)

    def forward(self, images: Tensor) -> Tensor:
        """Embed: (B, 3, height, width) -> (B, D, H, W)."""
        height, width = images.shape[2:]
        return self.projection(
            F.pad(images, (0, -width % self.patch_px, 0, -height % self.patch_px))
        )


class SpatialMix(nn.Module):
    """Gate an average of all tokens, weighted by key and by distance along the row-major order."""

    def __init__(self, dim: int, layer: int, depth: int) -> None:
        super().__init__()
        ratio = depth_ratio(layer, depth)
        channel = torch.arange(dim)
        rise = (channel / max(dim - 1, 1)).pow(0.7 + 1.3 * ratio)
        self.spatial_decay = nn.Parameter(8 * rise - 5)
        self.spatial_first = nn.Parameter(math.log(0.3) + 0.5 * ((channel + 1) % 3 - 1))
        self.spatial_mix_k = nn.Parameter(own_share(dim, layer, depth))
        self.spatial_mix_v = nn.Parameter(own_share(dim, layer, depth) + 0.3 * ratio)
        self.spatial_mix_r = nn.Parameter(own_share(dim, layer, depth, power=0.5))
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.receptance = nn.Linear(dim, dim, bias=False)
        self.output = nn.Linear(dim, dim, bias=False)

    def forward(self, x: Tensor, shift: Callable[[Tensor], Tensor]) -> Tensor:
        """Mix: (B, N, D) -> (B, N, D), neighbours being what `shift` brings."""
        neighbours, num_tokens = shift(x), x.shape[1]
        gate = torch.sigmoid(self.receptance(mix(x, neighbours, self.spatial_mix_r)))
        k = self.key(mix(x, neighbours, self.spatial_mix_k))
        v = self.value(mix(x, neighbours, self.spatial_mix_v))
        average = bi_wkv(k, v, self.spatial_decay / num_tokens, self.spatial_first / num_tokens)
        return self.output(gate * average)


class Block(nn.Module):
    """Spatial and channel mix, each after its norm and beside a residual; `ln0` in the first."""

    def __init__(self, config: VisionRWKVConfig, layer: int, drop_path_rate: float) -> None:
        super().__init__()
        dim, depth = config.dim, config.depth
        if layer == 0:
            self.ln0 = nn.LayerNorm(dim)
        self.ln1 = nn.LayerNorm(dim)
        self.ln2 = nn.LayerNorm(dim)
        self.att = SpatialMix(dim, layer, depth)
        hidden_dim = int(config.hidden_rate * dim)
        self.ffn = ChannelMix(dim, hidden_dim, own_share=own_share(dim, layer, depth))
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, shift: Callable[[Tensor], Tensor]) -> Tensor:
        """Transform: (B, N, D) -> (B, N, D)."""
        if hasattr(self, "ln0"):
            x = self.ln0(x)
        x = x + self.drop_path(self.att(self.ln1(x), shift))
        return x + self.drop_path(self.ffn(self.ln2(x), shift))


class Backbone(nn.Module):
    """Everything before the mean over the tokens."""

    def __init__(self, config: VisionRWKVConfig, options: Options) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config.dim, config.patch_px)
        self.table_grid = self.patch_embed.grid(options.height_px, options.width_px)
        self.pos_embed = nn.Parameter(torch.zeros(1, math.prod(self.table_grid), config.dim))
        rates = drop_path_rates(config.drop_path_rate, config.depth)
        self.layers = nn.ModuleList(Block(config, i, rates[i]) for i in range(config.depth))
        self.ln1 = nn.LayerNorm(config.dim)

    def forward(self, images: Tensor) -> Tensor:
        """Encode: (B, 3, height, width) -> (B, N, D)."""
        patches = self.patch_embed(images)  # (B, D, H, W)
        grid = (patches.shape[2], patches.shape[3])
        x = patches.flatten(2).transpose(1, 2) + self._positions(grid)  # (B, N, D)
        for layer in self.layers:
            x = layer(x, functools.partial(q_shift, grid=grid))
        return self.ln1(x)

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        """The table resized to `grid`: (1, N, D)."""
        if grid == self.table_grid:
            return self.pos_embed
        table = self.pos_embed.unflatten(1, self.table_grid).permute(0, 3, 1, 2)  # (1, D, h, w)
        wide = table if table.dtype == torch.float64 else table.float()
        resized = F.interpolate(wide, grid, mode="bicubic", align_corners=False)
        return resized.flatten(2).transpose(1, 2).to(table.dtype)  # (1, N, D)


class Head(nn.Module):
    """A linear classifier, parameter `fc`."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.fc = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify: (B, D) -> (B, num_classes)."""
        return self.fc(x)


class VisionRWKV(nn.Module):
    """Images (B, 3, 1, H, W) to logits (B, num_classes)."""

    def __init__(self, config: VisionRWKVConfig, options: Options) -> None:
        if options.num_frames != 1:
            raise UnsupportedInputError(
                f"an image model takes clips of 1 frame, not: {options.num_frames}"
            )
        super().__init__()
        self.backbone = Backbone(config, options)
        self.head = Head(config.dim, options.one_head())
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(self.head.fc.bias)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, 1, height, width) -> (B, num_classes).

        Raises:
            UnsupportedInputError: Clips of more than one frame.
        """
        if clips.ndim != 5 or clips.shape[2] != 1:
            raise UnsupportedInputError(
                f"clips must be (B, 3, 1, H, W), not of shape: {tuple(clips.shape)}"
            )
        return self.head(self.backbone(clips.squeeze(2)).mean(dim=1))


@register_model(family=FAMILY, clip=(1, 224, 224), num_classes=1000, label_space="imagenet1k")
def vision_rwkv_tiny(options: Options) -> VisionRWKV:
    """VRWKV-T: 12 blocks of width 192."""
    return VisionRWKV(VisionRWKVConfig(), options)
