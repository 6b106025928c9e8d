"""VideoMamba: a stack of bidirectional state-space blocks over all tokens of a clip.

Paper: arXiv:2403.06977. Reproduces OpenGVLab/VideoMamba@f3427e4,
``videomamba/video_sm/models/videomamba.py``. Tokens stand frame by frame, row by row, after one
class token, which has a place but no time. As the forward scan meets it first, all that reaches
the classifier comes through the backward scan.

Frames and pixels at an end that do not fill a tubelet are left out, as the official convolution
does. Deliberate differences: an input of another size than the tables were made for is refused (the
official code fails later, or adds a wrong table); frames need not be square.

Shapes: B clips, T tubelets along time, P places of a tubelet, D channels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.bimamba import (
    BiMambaEncoder,
    draw_projections,
    draw_step_sizes,
    init_bimamba_weights,
)
from model_zoo.layers.patch_embed import TubeletEmbed

FAMILY = Family(
    title="VideoMamba",
    paper="arXiv:2403.06977",
    repository="OpenGVLab/VideoMamba@f3427e42cb8453a523aec3a6f86d57b5bc1de5c3",
    licence="Apache-2.0",
    has_attention=False,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoMambaConfig:
    """Numbers of a variant; defaults are the tiny one's.

    Attributes:
        tubelet_frames: Frames of a token, the official ``kernel_size``; released models have 1.
        drop_path_rate: Of the last addition to the residual; rises linearly from 0.
        head_dropout_rate: Before the classifier.
        initial_steps: Smallest and largest step size at first, as Mamba draws them; None for the
            official code's 0.7, whose state forgets half with every token until it has learned not
            to.
        unit_gates: Begin with gates, B and C of the order of one; otherwise with the official
            code's projections, with which a narrow block is almost linear and its scan almost mute.
    """

    dim: int = 192
    depth: int = 24
    patch_px: int = 16
    tubelet_frames: int = 1
    drop_path_rate: float = 0.1
    head_dropout_rate: float = 0.0
    initial_steps: tuple[float, float] | None = None
    unit_gates: bool = False


class VideoMamba(BiMambaEncoder):
    """Clips (B, 3, T, H, W) to logits (B, num_classes)."""

    def __init__(self, config: VideoMambaConfig, options: Options) -> None:
        dim = config.dim
        super().__init__(dim, config.depth, config.drop_path_rate)
        self.patch_embed = TubeletEmbed(
            options, dim, tubelet_frames=config.tubelet_frames, patch_px=config.patch_px
        )
        T, rows, columns = self.patch_embed.grid
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + rows * columns, dim))
        self.temporal_pos_embedding = nn.Parameter(torch.zeros(1, T, dim))
        self.head_drop = nn.Dropout(config.head_dropout_rate)
        self.head = nn.Linear(dim, options.one_head())
        init_bimamba_weights(self)
        if config.unit_gates:
            draw_projections(self)
        if config.initial_steps is not None:
            draw_step_sizes(self, *config.initial_steps)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes).

        Raises:
            UnsupportedInputError: Clips of another size than the model was built for.
        """
        x = self.patch_embed(clips)
        B, _, D = x.shape
        T = self.patch_embed.grid[0]
        cls_place, places = self.pos_embed[:, :1], self.pos_embed[:, 1:]
        x = x.reshape(B, T, -1, D) + places.unsqueeze(1)  # (B, T, P, D)
        x = x + self.temporal_pos_embedding.unsqueeze(2)
        cls_token = (self.cls_token + cls_place).expand(B, -1, -1)
        tokens = torch.cat((cls_token, x.flatten(1, 2)), dim=1)  # (B, 1 + T * P, D)
        return self.head(self.head_drop(self.encode(tokens)))


@register_model(family=FAMILY, clip=(8, 224, 224))
def videomamba_tiny(options: Options) -> VideoMamba:
    """VideoMamba-Ti: 24 blocks of width 192."""
    return VideoMamba(VideoMambaConfig(), options)


@register_model(family=FAMILY, clip=(8, 224, 224))
def videomamba_small(options: Options) -> VideoMamba:
    """VideoMamba-S: 24 blocks of width 384."""
    return VideoMamba(VideoMambaConfig(dim=384), options)


@register_model(family=FAMILY, clip=(8, 224, 224))
def videomamba_middle(options: Options) -> VideoMamba:
    """VideoMamba-M: 32 blocks of width 576."""
    return VideoMamba(VideoMambaConfig(dim=576, depth=32), options)


@register_model(
    family=FAMILY,
    clip=(8, 32, 32),
    num_classes={"verb": 12, "noun": 8},
    label_space="motion",
)
def videomamba_nano(options: Options) -> VideoMamba:
    """For the motion benchmark: 2 blocks of width 128, tubelets of 4 x 8 px."""
    config = VideoMambaConfig(
        dim=128,
        depth=2,
        patch_px=8,
        tubelet_frames=4,
        drop_path_rate=0.0,
        initial_steps=(0.005, 0.05),
        unit_gates=True,
    )
    return VideoMamba(config, options)
