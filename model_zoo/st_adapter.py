"""ST-Adapter: depthwise convolutions over time inside a frozen CLIP tower.

Paper: arXiv:2206.13559. Official: linziyi96/st-adapter@b914b38, ``models_adapter.py``.

Differences from the official code: frozen weights have the precision of the model (official ones
are stored as fp16, and so in the released files); LayerNorm in the precision of its input (torch
accumulates halves in float32); the adapter adds out of place; frames need not be square.

Shapes: B batch, T frames, h and w patches along the sides of a frame, S = h*w, N = 1 + S tokens of
a frame (class token first, then patches row by row), D channels, A channels of an adapter.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.checks import patch_grid, require_size
from model_zoo.layers.clip import (
    ClipAttention,
    ClipMlp,
    Transformer,
    embedding,
    frame_tokens,
    patch_convolution,
)

FAMILY = Family(
    title="ST-Adapter",
    paper="arXiv:2206.13559",
    repository="linziyi96/st-adapter@b914b38",
    licence="MIT",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StAdapterConfig:
    """Numbers of a variant; defaults are '12x384' on ViT-B/16: one adapter a block.

    Attributes:
        adapter_kernel: Of the adapters' convolution, along time, height and width.
        has_adapter_before_attention: In each block; '24x384' has both.
        has_adapter_before_mlp: In each block.
        head_dropout: Before the classifier, while training.
    """

    patch_px: int = 16
    dim: int = 768
    depth: int = 12
    num_heads: int = 12
    adapter_dim: int = 384
    adapter_kernel: tuple[int, int, int] = (3, 1, 1)
    has_adapter_before_attention: bool = False
    has_adapter_before_mlp: bool = True
    head_dropout: float = 0.5


class Adapter(nn.Module):
    """Linear, depthwise convolution over the clip's volume, linear; nowhere an activation."""

    def __init__(self, dim: int, adapter_dim: int, kernel: tuple[int, int, int]) -> None:
        super().__init__()
        t, h, w = kernel
        self.fc1 = nn.Linear(dim, adapter_dim)
        self.conv = nn.Conv3d(
            adapter_dim,
            adapter_dim,
            kernel_size=kernel,
            padding=(t // 2, h // 2, w // 2),
            groups=adapter_dim,
        )
        self.fc2 = nn.Linear(adapter_dim, dim)
        for zero in (self.conv.weight, self.conv.bias, self.fc1.bias, self.fc2.bias):
            assert zero is not None
            nn.init.zeros_(zero)

    def forward(self, x: Tensor, T: int, h: int, w: int) -> Tensor:
        """Add to the patches of each frame what its neighbours tell: (B*T, N, D)."""
        class_tokens, patches = x[:, :1], x[:, 1:]
        y = self.fc1(patches)  # (B*T, S, A)
        y = y.reshape(-1, T, h, w, y.shape[-1]).permute(0, 4, 1, 2, 3)  # (B, A, T, h, w)
        y = self.conv(y).permute(0, 2, 3, 4, 1)  # (B, T, h, w, A)
        y = y.reshape(-1, h * w, y.shape[-1])  # (B*T, S, A)
        return torch.cat((class_tokens, patches + self.fc2(y)), dim=1)


class AdaptedBlock(nn.Module):
    """A block of CLIP with an adapter before its attention, its perceptron or both."""

    def __init__(self, config: StAdapterConfig, *, attention: str) -> None:
        super().__init__()
        dim = config.dim
        size = (dim, config.adapter_dim, config.adapter_kernel)
        self.ln_1 = nn.LayerNorm(dim)
        self.attn = ClipAttention(dim, config.num_heads, attention=attention)
        self.ln_2 = nn.LayerNorm(dim)
        self.mlp = ClipMlp(dim)
        self.adapter_pre_attn = Adapter(*size) if config.has_adapter_before_attention else None
        self.adapter_pre_mlp = Adapter(*size) if config.has_adapter_before_mlp else None

    def forward(self, x: Tensor, T: int, h: int, w: int) -> Tensor:
        """Transform the tokens of each frame, adapters across frames: (B*T, N, D)."""
        if self.adapter_pre_attn is not None:
            x = self.adapter_pre_attn(x, T, h, w)
        x = x + self.attn(self.ln_1(x))
        if self.adapter_pre_mlp is not None:
            x = self.adapter_pre_mlp(x, T, h, w)
        return x + self.mlp(self.ln_2(x))


class StAdapter(nn.Module):
    """Clips (B, 3, T, H, W) of any number of frames to logits (B, num_classes).

    All but the adapters and the classifier is frozen.
    """

    def __init__(self, config: StAdapterConfig, options: Options) -> None:
        super().__init__()
        dim = config.dim
        self.options = options
        self.grid = patch_grid(options, config.patch_px)
        self.head_dropout = config.head_dropout
        self.class_embedding = embedding(dim)
        self.positional_embedding = embedding(1 + self.grid[0] * self.grid[1], dim)
        self.conv1 = patch_convolution(dim, config.patch_px)
        self.ln_pre = nn.LayerNorm(dim)
        self.transformer = Transformer(
            AdaptedBlock(config, attention=options.attention) for _ in range(config.depth)
        )
        self.ln_post = nn.LayerNorm(dim)
        self.fc = nn.Linear(dim, options.one_head())
        nn.init.normal_(self.fc.weight, std=0.02)
        nn.init.zeros_(self.fc.bias)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_("adapter" in name or name.startswith("fc."))

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes)."""
        require_size(clips, self.options, any_num_frames=True)
        B, _, T = clips.shape[:3]
        frames = clips.transpose(1, 2).flatten(0, 1)  # (B*T, 3, H, W)
        x = frame_tokens(frames, self.conv1, self.class_embedding, self.positional_embedding)
        x = self.transformer(self.ln_pre(x), T, *self.grid)  # (B*T, N, D)
        x = x[:, 0].reshape(B, T, -1).mean(dim=1)  # (B, D)
        x = F.dropout(self.ln_post(x), self.head_dropout, self.training)
        return self.fc(x)


@register_model(family=FAMILY, clip=(8, 224, 224))
def st_adapter_base_16(options: Options) -> StAdapter:
    """ST-Adapter '12x384' on CLIP ViT-B/16: an adapter before each perceptron."""
    return StAdapter(StAdapterConfig(), options)


@register_model(family=FAMILY, clip=(8, 224, 224), num_classes=174, label_space="ssv2")
def st_adapter_base_16_ssv2(options: Options) -> StAdapter:
    """ST-Adapter '24x384' on CLIP ViT-B/16: before each attention too."""
    return StAdapter(StAdapterConfig(has_adapter_before_attention=True), options)
