"""AIM: adapters inside a frozen CLIP tower whose own attention is used once more, over time.

Paper: arXiv:2302.03024. Official: taoyang1122/adapt-image-models@b3580d2,
``mmaction/models/backbones/vit_clip.py`` and ``mmaction/models/heads/i3d_head.py``.

Differences from the official code: tokens batch first; LayerNorm in the precision of its input
(torch accumulates halves in float32); frames need not be square.

Shapes: B batch, T frames, N tokens of a frame (class token first, then patches row by row),
D channels.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.adapters import BottleneckAdapter
from model_zoo.layers.checks import patch_grid, require_size
from model_zoo.layers.clip import (
    ClipAttention,
    ClipMlp,
    Transformer,
    embedding,
    frame_tokens,
    patch_convolution,
)
from model_zoo.layers.drop_path import DropPath, drop_path_rates

FAMILY = Family(
    title="AIM",
    paper="arXiv:2302.03024",
    repository="taoyang1122/adapt-image-models@b3580d2",
    licence="Apache-2.0",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class AimConfig:
    """Numbers of a variant; defaults are ViT-B/16's on Kinetics.

    Attributes:
        adapter_scale: Weight of the adapter beside each perceptron.
        has_temporal_input_adapter: Adapt before the attention over time too, not only after it.
        drop_path_rate: Of the last block's temporal and perceptron adapters; rises linearly from 0.
        head_dropout: Before the classifier, while training.
    """

    patch_px: int = 16
    dim: int = 768
    depth: int = 12
    num_heads: int = 12
    adapter_scale: float = 0.5
    has_temporal_input_adapter: bool = False
    drop_path_rate: float = 0.2
    head_dropout: float = 0.5


class AdaptedBlock(nn.Module):
    """A block of CLIP whose attention and norm serve time, then space; adapters tell them apart."""

    def __init__(self, config: AimConfig, *, drop_path_rate: float, attention: str) -> None:
        super().__init__()
        dim = config.dim
        self.ln_1 = nn.LayerNorm(dim)
        self.attn = ClipAttention(dim, config.num_heads, attention=attention)
        self.ln_2 = nn.LayerNorm(dim)
        self.mlp = ClipMlp(dim)
        self.adapter_scale = config.adapter_scale
        self.MLP_Adapter = BottleneckAdapter(dim, has_skip=False)
        self.S_Adapter = BottleneckAdapter(dim, has_skip=True)
        self.T_Adapter = BottleneckAdapter(dim, has_skip=False)
        self.T_Adapter_in = (
            BottleneckAdapter(dim, has_skip=True) if config.has_temporal_input_adapter else None
        )
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor, T: int) -> Tensor:
        """Transform the tokens of each frame, across frames too: (B*T, N, D)."""
        x = x + self._drop_places(self._temporal(x, T))
        x = x + self.S_Adapter(self.attn(self.ln_1(x)))
        normed = self.ln_2(x)
        adapted = self.adapter_scale * self.MLP_Adapter(normed)
        return x + self.mlp(normed) + self._drop_places(adapted)

    def _temporal(self, x: Tensor, T: int) -> Tensor:
        """Attend along time at each place of a frame: (B*T, N, D) to the same shape."""
        _, N, D = x.shape
        y = x.reshape(-1, T, N, D).transpose(1, 2).reshape(-1, T, D)  # (B*N, T, D)
        y = self.ln_1(y)
        if self.T_Adapter_in is not None:
            y = self.T_Adapter_in(y)
        y = self.T_Adapter(self.attn(y))
        return y.reshape(-1, N, T, D).transpose(1, 2).reshape(x.shape)  # (B*T, N, D)

    def _drop_places(self, x: Tensor) -> Tensor:
        # Official tensors are (N, B*T, D): their stochastic depth drops places, not clips.
        return self.drop_path(x.transpose(0, 1)).transpose(0, 1)


class Backbone(nn.Module):
    """The CLIP tower with adapters and a table over time."""

    def __init__(self, config: AimConfig, options: Options) -> None:
        super().__init__()
        dim = config.dim
        h, w = patch_grid(options, config.patch_px)
        self.class_embedding = embedding(dim)
        self.positional_embedding = embedding(1 + h * w, dim)
        self.temporal_embedding = nn.Parameter(torch.zeros(1, options.num_frames, dim))
        self.conv1 = patch_convolution(dim, config.patch_px)
        self.ln_pre = nn.LayerNorm(dim)
        self.transformer = Transformer(
            AdaptedBlock(config, drop_path_rate=rate, attention=options.attention)
            for rate in drop_path_rates(config.drop_path_rate, config.depth)
        )
        self.ln_post = nn.LayerNorm(dim)

    def forward(self, clips: Tensor) -> Tensor:
        """Normalised class token of each frame: (B, 3, T, H, W) -> (B, T, D)."""
        B, _, T = clips.shape[:3]
        frames = clips.transpose(1, 2).flatten(0, 1)  # (B*T, 3, H, W)
        x = frame_tokens(frames, self.conv1, self.class_embedding, self.positional_embedding)
        _, N, D = x.shape
        x = x.reshape(B, T, N, D) + self.temporal_embedding[:, :, None]
        x = self.transformer(self.ln_pre(x.reshape(B * T, N, D)), T)  # (B*T, N, D)
        return self.ln_post(x[:, 0]).reshape(B, T, D)


class Head(nn.Module):
    """Mean over frames, dropout, linear."""

    def __init__(self, dim: int, num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.fc_cls = nn.Linear(dim, num_classes)
        nn.init.normal_(self.fc_cls.weight, std=0.01)
        nn.init.zeros_(self.fc_cls.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Classify: (B, T, D) -> (B, num_classes)."""
        return self.fc_cls(F.dropout(x.mean(dim=1), self.dropout, self.training))


class Aim(nn.Module):
    """Clips (B, 3, T, H, W) to logits (B, num_classes); CLIP's own weights are frozen."""

    def __init__(self, config: AimConfig, options: Options) -> None:
        super().__init__()
        self.options = options
        self.backbone = Backbone(config, options)
        self.cls_head = Head(config.dim, options.one_head(), dropout=config.head_dropout)
        trained = ("Adapter", "temporal_embedding", "ln_post", "cls_head")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(any(word in name for word in trained))

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes)."""
        require_size(clips, self.options)
        return self.cls_head(self.backbone(clips))


_LARGE = AimConfig(patch_px=14, dim=1024, depth=24, num_heads=16)


@register_model(family=FAMILY, clip=(8, 224, 224))
def aim_base_16(options: Options) -> Aim:
    """AIM on CLIP ViT-B/16; released for 8, 16 and 32 frames."""
    return Aim(AimConfig(), options)


@register_model(family=FAMILY, clip=(8, 224, 224), num_classes=174, label_space="ssv2")
def aim_base_16_ssv2(options: Options) -> Aim:
    """AIM on CLIP ViT-B/16 for Something-Something V2: two temporal adapters a block."""
    return Aim(AimConfig(adapter_scale=1.0, has_temporal_input_adapter=True), options)


@register_model(family=FAMILY, clip=(8, 224, 224))
def aim_large_14(options: Options) -> Aim:
    """AIM on CLIP ViT-L/14; released for 8, 16 and 32 frames."""
    return Aim(_LARGE, options)


@register_model(family=FAMILY, clip=(8, 224, 224), num_classes=174, label_space="ssv2")
def aim_large_14_ssv2(options: Options) -> Aim:
    """AIM on CLIP ViT-L/14 for Something-Something V2, as the official configuration has it."""
    return Aim(replace(_LARGE, adapter_scale=1.0), options)


@register_model(family=FAMILY, clip=(8, 224, 224), num_classes=174, label_space="ssv2")
def aim_large_14_ssv2_2t(options: Options) -> Aim:
    """AIM on CLIP ViT-L/14 with two temporal adapters a block, which the paper's cost fits."""
    return Aim(replace(_LARGE, adapter_scale=1.0, has_temporal_input_adapter=True), options)
