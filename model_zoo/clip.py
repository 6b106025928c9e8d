"""CLIP's visual tower: the vision transformer whose weights EVL, AIM, ST-Adapter and CAST build on.

Paper: arXiv:2103.00020. Official: openai/CLIP@d05afc4, ``clip/model.py::VisionTransformer``.

Differences from the official code: clips of one frame (B, 3, 1, H, W) in place of images; tokens
batch first; LayerNorm in the precision of its input (torch accumulates halves in float32);
frames need not be square.

Shapes: B batch, N tokens (class token first, then patches row by row), D channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.checks import patch_grid, require_size
from model_zoo.layers.clip import (
    ResidualAttentionBlock,
    Transformer,
    embedding,
    frame_tokens,
    patch_convolution,
)

FAMILY = Family(
    title="CLIP",
    paper="arXiv:2103.00020",
    repository="openai/CLIP@d05afc4",
    licence="MIT",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ClipConfig:
    """Numbers of a variant; defaults are ViT-B/16's."""

    patch_px: int = 16
    dim: int = 768
    depth: int = 12
    num_heads: int = 12


_LARGE = ClipConfig(patch_px=14, dim=1024, depth=24, num_heads=16)


class Clip(nn.Module):
    """Images (B, 3, 1, H, W) to embeddings in the space shared with text (B, num_classes)."""

    def __init__(self, config: ClipConfig, options: Options) -> None:
        super().__init__()
        if options.num_frames != 1:
            raise UnsupportedInputError(
                f"an image model takes clips of 1 frame, not: {options.num_frames}"
            )
        h, w = patch_grid(options, config.patch_px)
        dim = config.dim
        self.options = options
        self.class_embedding = embedding(dim)
        self.positional_embedding = embedding(1 + h * w, dim)
        self.conv1 = patch_convolution(dim, config.patch_px)
        self.ln_pre = nn.LayerNorm(dim)
        self.transformer = Transformer(
            ResidualAttentionBlock(dim, config.num_heads, attention=options.attention)
            for _ in range(config.depth)
        )
        self.ln_post = nn.LayerNorm(dim)
        self.proj = nn.Parameter(dim**-0.5 * torch.randn(dim, options.one_head()))

    def forward(self, clips: Tensor) -> Tensor:
        """Embed images: (B, 3, 1, H, W) -> (B, num_classes)."""
        require_size(clips, self.options)
        x = frame_tokens(
            clips.squeeze(2), self.conv1, self.class_embedding, self.positional_embedding
        )
        x = self.transformer(self.ln_pre(x))  # (B, N, D)
        return self.ln_post(x[:, 0]) @ self.proj


@register_model(family=FAMILY, clip=(1, 224, 224), num_classes=512, label_space="clip_embedding")
def clip_vit_base_16(options: Options) -> Clip:
    """ViT-B/16 of CLIP: 12 blocks of width 768, 512-dimensional embeddings."""
    return Clip(ClipConfig(), options)


@register_model(family=FAMILY, clip=(1, 224, 224), num_classes=768, label_space="clip_embedding")
def clip_vit_large_14(options: Options) -> Clip:
    """ViT-L/14 of CLIP: 24 blocks of width 1024, 768-dimensional embeddings."""
    return Clip(_LARGE, options)


@register_model(family=FAMILY, clip=(1, 336, 336), num_classes=768, label_space="clip_embedding")
def clip_vit_large_14_336(options: Options) -> Clip:
    """ViT-L/14 of CLIP, trained further at 336 px."""
    return Clip(_LARGE, options)
