"""The plain ViT of VideoMAE, VideoMAE V2 and UMT, which differ in sizes and position tables.

Tubelets of the clip become tokens, positions are added, all tokens attend to all others in every
block, and the mean of the tokens is normalised and classified. There is no class token.

Shapes: B clips, T x H x W frames and pixels, N tokens, D channels of a token.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._registry import Options
from model_zoo.layers.beit import BeitBlock
from model_zoo.layers.drop_path import drop_path_rates
from model_zoo.layers.patch_embed import TubeletEmbed


@dataclass(frozen=True, kw_only=True, slots=True)
class TubeletViTConfig:
    """Size of a variant, and how much the official fine-tuning drops while training."""

    dim: int
    depth: int
    num_heads: int
    mlp_dim: int
    tubelet_frames: int = 2
    patch_px: int = 16
    drop_path_rate: float = 0.1
    head_dropout_rate: float = 0.0


class TubeletViT(nn.Module):
    """Everything but the position table, which a subclass sets.

    Attributes:
        pos_embed: (1, N, D), added to the tokens of every clip.
    """

    pos_embed: Tensor

    def __init__(self, config: TubeletViTConfig, options: Options) -> None:
        super().__init__()
        self.head_dropout_rate = config.head_dropout_rate
        self.patch_embed = TubeletEmbed(
            options,
            config.dim,
            tubelet_frames=config.tubelet_frames,
            patch_px=config.patch_px,
        )
        self.blocks = nn.ModuleList(
            BeitBlock(
                config.dim,
                config.num_heads,
                config.mlp_dim,
                drop_path_rate=rate,
                attention=options.attention,
            )
            for rate in drop_path_rates(config.drop_path_rate, config.depth)
        )
        self.fc_norm = nn.LayerNorm(config.dim, eps=1e-6)
        self.head = nn.Linear(config.dim, options.one_head())
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        # All official fine-tuning scripts start from a head this small.
        self.head.weight.data.mul_(0.001)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes)."""
        x = self.patch_embed(clips)  # (B, N, D)
        x = x + self.pos_embed.to(x.dtype)
        for block in self.blocks:
            x = block(x)
        x = self.fc_norm(x.mean(dim=1))  # (B, D)
        return self.head(F.dropout(x, self.head_dropout_rate, self.training))
