"""VideoMAE V2: the plain ViT of VideoMAE scaled to a billion parameters, and distilled from it.

Paper arXiv:2303.16727. Implementation reproduced: OpenGVLab/VideoMAEv2@29eab1e,
models/modeling_finetune.py. The network is `layers/tubelet_vit.py`; this file holds its positions
and sizes. Masking of the decoder too, the paper's subject, concerns pre-training alone.

Positions are a fixed sinusoid over the flattened token index and no part of a checkpoint.

Left out: cosine attention, learnable positions, layer scale and the class token, which no released
model uses.

Shapes: N tokens, D channels of a token.
"""

from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.pos_embed import sinusoid_table
from model_zoo.layers.tubelet_vit import TubeletViT, TubeletViTConfig

FAMILY = Family(
    title="VideoMAE V2",
    paper="arXiv:2303.16727",
    repository="OpenGVLab/VideoMAEv2@29eab1e",
    licence="MIT",
)


class VideoMAEv2(TubeletViT):
    """The encoder with a linear classifier on the mean token."""

    def __init__(self, config: TubeletViTConfig, options: Options) -> None:
        super().__init__(config, options)
        table = sinusoid_table(self.patch_embed.num_tokens, config.dim)  # (1, N, D)
        self.register_buffer("pos_embed", table, persistent=False)


@register_model(family=FAMILY, clip=(16, 224, 224), num_classes=710, label_space="kinetics710")
def videomaev2_small(options: Options) -> VideoMAEv2:
    """ViT-S/16 distilled from the giant, 12 blocks of width 384."""
    return VideoMAEv2(TubeletViTConfig(dim=384, depth=12, num_heads=6, mlp_dim=1536), options)


@register_model(family=FAMILY, clip=(16, 224, 224), num_classes=710, label_space="kinetics710")
def videomaev2_base(options: Options) -> VideoMAEv2:
    """ViT-B/16 distilled from the giant, 12 blocks of width 768."""
    return VideoMAEv2(TubeletViTConfig(dim=768, depth=12, num_heads=12, mlp_dim=3072), options)


@register_model(family=FAMILY, clip=(16, 224, 224))
def videomaev2_giant(options: Options) -> VideoMAEv2:
    """ViT-g/14, 40 blocks of width 1408."""
    config = TubeletViTConfig(
        dim=1408,
        depth=40,
        num_heads=16,
        mlp_dim=6144,
        patch_px=14,
        drop_path_rate=0.2,
    )
    return VideoMAEv2(config, options)
