"""TSN: an image network on each of a few frames spread over the video, logits averaged.

arXiv:1608.00859; here with ResNet-50 instead of BN-Inception, as everyone runs it now. Official
implementation with a released Kinetics-400 checkpoint: mit-han-lab/temporal-shift-module@1f6a834
(class `TSN` without shift), whose names are torchvision's behind ``base_model.`` with the
classifier in ``new_fc``. mmaction2's TSN-R50 files, which name the same tensors otherwise, load
too; its head averages features before the classifier, which is the same but for rounding.

Shapes: B clips, T frames, H height, W width, K classes.
"""

from dataclasses import dataclass
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.resnet50 import ResNet50

FAMILY: Final = Family(
    title="TSN",
    paper="arXiv:1608.00859",
    repository="mit-han-lab/temporal-shift-module@1f6a834",
    licence="MIT",
    has_attention=False,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TSNConfig:
    """Numbers of a variant.

    Attributes:
        dropout: Of each frame's features before the classifier.
        width: Channels of the image network's stem.
        depths: Blocks of each of its stages.
    """

    dropout: float = 0.5
    width: int = 64
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)


class TSN(nn.Module):
    """Frames never meet before their logits are averaged: any number of them works."""

    def __init__(self, config: TSNConfig, options: Options) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.base_model = ResNet50(width=config.width, depths=config.depths)
        self.new_fc = nn.Linear(self.base_model.dim_features, options.one_head())
        nn.init.normal_(self.new_fc.weight, std=0.001)
        nn.init.zeros_(self.new_fc.bias)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, K)."""
        T = clips.shape[2]
        x = self.base_model(clips.transpose(1, 2).flatten(0, 1))  # (B * T, C)
        x = self.new_fc(F.dropout(x, self.dropout, training=self.training))
        return x.unflatten(0, (-1, T)).mean(dim=1)


@register_model(family=FAMILY, clip=(8, 224, 224))
def tsn_r50(options: Options) -> TSN:
    """ResNet-50, 24 M parameters, 8 frames spread over the video."""
    return TSN(TSNConfig(), options)


@register_model(
    family=FAMILY,
    clip=(8, 32, 32),
    num_classes={"verb": 12, "noun": 8},
    label_space="motion",
)
def tsn_nano(options: Options) -> TSN:
    """For the motion benchmark, blind to the order of frames: tsm_nano without its shifts."""
    return TSN(TSNConfig(width=12, depths=(1, 1, 1, 1), dropout=0.0), options)
