"""Slow: a ResNet over few frames, whose kernels reach through time only in the last two stages.

It is the slow pathway of SlowFast alone (arXiv:1812.03982, Table 1). Official implementation:
facebookresearch/SlowFast@287ec00, class `ResNet` with ``MODEL.ARCH: slow``.

Deliberate differences: the head gives logits. The official one applies softmax in eval mode and,
where the clip is larger than the training crop, averages probabilities over places; here logits
are averaged, in training mode too (where the official code would flatten places into classes).

Shapes: B clips, T frames, H height, W width.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from torch import Tensor, nn

from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.resnet3d import (
    DenseHead,
    Stem,
    init_convolutions,
    res_blocks,
    trained_crop_px,
)

FAMILY: Final = Family(
    title="Slow",
    paper="arXiv:1812.03982",
    repository="facebookresearch/SlowFast@287ec00",
    licence="Apache-2.0",
    has_attention=False,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SlowConfig:
    """Numbers of a variant.

    Attributes:
        temporal_kernels: For each stage, the frames that each block spans.
        crop_px: Side of the training crop.
        dropout: Of the features before the classifier.
    """

    temporal_kernels: tuple[tuple[int, ...], ...] = ((1,) * 3, (1,) * 4, (3,) * 6, (3,) * 3)
    crop_px: int = 224
    dropout: float = 0.5


class Slow(nn.Module):
    """Frames are never merged: every stage keeps T."""

    def __init__(self, config: SlowConfig, options: Options) -> None:
        super().__init__()
        self.s1 = nn.Sequential(OrderedDict(pathway0_stem=Stem(64, temporal_kernel=1)))
        dims_in = (64, 256, 512, 1024)
        self.s2, self.s3, self.s4, self.s5 = (
            nn.Sequential(
                res_blocks(
                    0,
                    dim_in=dims_in[i],
                    dim_inner=64 * 2**i,
                    stride=1 if i == 0 else 2,
                    temporal_kernels=config.temporal_kernels[i],
                )
            )
            for i in range(4)
        )
        side = trained_crop_px(options, config.crop_px, smallest_px=32) // 32
        self.head = DenseHead(
            2048,
            options.one_head(),
            windows=[(options.num_frames, side, side)],
            dropout=config.dropout,
        )
        init_convolutions(self)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes)."""
        x = self.s2(self.s1(clips))
        return self.head(self.s5(self.s4(self.s3(x))))


@register_model(family=FAMILY, clip=(8, 224, 224))
def slow_r50_8x8(options: Options) -> Slow:
    """ResNet-50, 32 M parameters, 8 frames with a stride of 8."""
    return Slow(SlowConfig(), options)
