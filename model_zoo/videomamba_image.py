"""VideoMamba's image models: the same blocks over the patches of one frame.

Paper: arXiv:2403.06977. Reproduces OpenGVLab/VideoMamba@f3427e4,
``videomamba/image_sm/models/videomamba.py``. Tokens stand row by row after the class token. Pixels
at an end that do not fill a patch are left out. Deliberate differences: clips of one frame
(B, 3, 1, H, W) in place of images; frames need not be square.

Shapes: B images, D channels, L = 1 + patches tokens.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.bimamba import BiMambaEncoder, init_bimamba_weights
from model_zoo.layers.checks import patch_grid, require_size

FAMILY = Family(
    title="VideoMamba (image)",
    paper="arXiv:2403.06977",
    repository="OpenGVLab/VideoMamba@f3427e42cb8453a523aec3a6f86d57b5bc1de5c3",
    licence="Apache-2.0",
    has_attention=False,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoMambaImageConfig:
    """Numbers of a variant; defaults are the tiny one's.

    Attributes:
        drop_path_rate: Of the last addition to the residual; rises linearly from 0.
    """

    dim: int = 192
    depth: int = 24
    patch_px: int = 16
    drop_path_rate: float = 0.1


class PatchEmbed(nn.Module):
    """Cut a frame into patches and project each; parameter `proj`."""

    def __init__(self, dim: int, patch_px: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, kernel_size=patch_px, stride=patch_px)

    def forward(self, images: Tensor) -> Tensor:
        """Embed: (B, 3, H, W) -> (B, L - 1, D)."""
        return self.proj(images).flatten(2).transpose(1, 2)  # (B, L - 1, D)


class VideoMambaImage(BiMambaEncoder):
    """Images (B, 3, 1, H, W) to logits (B, num_classes)."""

    def __init__(self, config: VideoMambaImageConfig, options: Options) -> None:
        if options.num_frames != 1:
            raise UnsupportedInputError(
                f"an image model takes clips of 1 frame, not: {options.num_frames}"
            )
        rows, columns = patch_grid(options, config.patch_px)
        dim = config.dim
        super().__init__(dim, config.depth, config.drop_path_rate)
        self.options = options
        self.grid = (rows, columns)
        self.patch_embed = PatchEmbed(dim, config.patch_px)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + rows * columns, dim))
        self.head = nn.Linear(dim, options.one_head())
        init_bimamba_weights(self)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, 1, H, W) -> (B, num_classes).

        Raises:
            UnsupportedInputError: Clips of another size than the model was built for.
        """
        require_size(clips, self.options)
        patches = self.patch_embed(clips.squeeze(2))
        cls_token = self.cls_token.expand(patches.shape[0], -1, -1)
        tokens = torch.cat((cls_token, patches), dim=1) + self.pos_embed  # (B, L, D)
        return self.head(self.encode(tokens))


@register_model(family=FAMILY, clip=(1, 224, 224), num_classes=1000, label_space="imagenet1k")
def videomamba_image_tiny(options: Options) -> VideoMambaImage:
    """VideoMamba-Ti for images: 24 blocks of width 192."""
    return VideoMambaImage(VideoMambaImageConfig(), options)


@register_model(family=FAMILY, clip=(1, 224, 224), num_classes=1000, label_space="imagenet1k")
def videomamba_image_small(options: Options) -> VideoMambaImage:
    """VideoMamba-S for images: 24 blocks of width 384."""
    return VideoMambaImage(VideoMambaImageConfig(dim=384), options)


@register_model(family=FAMILY, clip=(1, 224, 224), num_classes=1000, label_space="imagenet1k")
def videomamba_image_middle(options: Options) -> VideoMambaImage:
    """VideoMamba-M for images: 32 blocks of width 576."""
    return VideoMambaImage(VideoMambaImageConfig(dim=576, depth=32), options)


@register_model(family=FAMILY, clip=(1, 224, 224), num_classes=1000, label_space="imagenet1k")
def videomamba_image_base(options: Options) -> VideoMambaImage:
    """VideoMamba-B for images: 24 blocks of width 768."""
    return VideoMambaImage(VideoMambaImageConfig(dim=768), options)
