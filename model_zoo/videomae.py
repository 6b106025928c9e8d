"""VideoMAE: a plain ViT over space-time tubelets, pre-trained by masked autoencoding.

Paper arXiv:2203.12602. Implementation reproduced: MCG-NJU/VideoMAE@14ef8d8, modeling_finetune.py.
The network is `layers/tubelet_vit.py`; this file holds its positions and sizes.

Positions are a fixed sinusoid over the flattened token index, not over time, height and width, and
are no part of a checkpoint: a model for any clip is built with a longer or a shorter table.

Left out: learnable positions, layer scale and the class token, which no released model uses.

Shapes: N tokens, D channels of a token.
"""

from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.pos_embed import sinusoid_table
from model_zoo.layers.tubelet_vit import TubeletViT, TubeletViTConfig

FAMILY = Family(
    title="VideoMAE",
    paper="arXiv:2203.12602",
    repository="MCG-NJU/VideoMAE@14ef8d8",
    licence="CC-BY-NC-4.0",
)


class VideoMAE(TubeletViT):
    """The encoder with a linear classifier on the mean token."""

    def __init__(self, config: TubeletViTConfig, options: Options) -> None:
        super().__init__(config, options)
        table = sinusoid_table(self.patch_embed.num_tokens, config.dim)  # (1, N, D)
        self.register_buffer("pos_embed", table, persistent=False)


@register_model(family=FAMILY, clip=(16, 224, 224))
def videomae_small(options: Options) -> VideoMAE:
    """ViT-S/16, 12 blocks of width 384."""
    return VideoMAE(TubeletViTConfig(dim=384, depth=12, num_heads=6, mlp_dim=1536), options)


@register_model(family=FAMILY, clip=(16, 224, 224))
def videomae_base(options: Options) -> VideoMAE:
    """ViT-B/16, 12 blocks of width 768."""
    return VideoMAE(TubeletViTConfig(dim=768, depth=12, num_heads=12, mlp_dim=3072), options)


@register_model(family=FAMILY, clip=(16, 224, 224))
def videomae_large(options: Options) -> VideoMAE:
    """ViT-L/16, 24 blocks of width 1024."""
    return VideoMAE(TubeletViTConfig(dim=1024, depth=24, num_heads=16, mlp_dim=4096), options)


@register_model(family=FAMILY, clip=(16, 224, 224))
def videomae_huge(options: Options) -> VideoMAE:
    """ViT-H/16, 32 blocks of width 1280."""
    config = TubeletViTConfig(
        dim=1280,
        depth=32,
        num_heads=16,
        mlp_dim=5120,
        drop_path_rate=0.2,
        head_dropout_rate=0.5,
    )
    return VideoMAE(config, options)


@register_model(
    family=FAMILY,
    clip=(8, 32, 32),
    num_classes={"verb": 12, "noun": 8},
    label_space="motion",
)
def videomae_nano(options: Options) -> VideoMAE:
    """For the motion benchmark: joint attention, 4 blocks of width 64, tubelets of 2 x 8 px."""
    config = TubeletViTConfig(
        dim=64, depth=4, num_heads=2, mlp_dim=256, patch_px=8, drop_path_rate=0.0
    )
    return VideoMAE(config, options)
