"""Models that a claim sets another against and that nobody released; the zoo lists none of them.

A spec names them as it names any model that is not the zoo's, by ``package.module:callable``.
"""

from torch import nn

import model_zoo
from model_zoo import Options
from model_zoo.vivit import JointViViT, ViViTConfig


def evl_base_16_whole(options: Options) -> nn.Module:
    """EVL on CLIP ViT-B/16 with nothing frozen: the same network, the backbone trained too."""
    model = model_zoo.create_model(
        "evl_base_16",
        num_frames=options.num_frames,
        resolution=(options.height_px, options.width_px),
        num_classes=options.one_head(),
        attention=options.attention,
    )
    return model.requires_grad_(requires_grad=True)


def vivit_large_joint(options: Options) -> nn.Module:
    """ViViT-L/16x2 whose tokens all attend to each other, arXiv:2103.15691; 311 M parameters."""
    config = ViViTConfig(dim=1024, depth=24, num_heads=16, mlp_dim=4096)
    return JointViViT(config, options)
