"""I3D-R50: a ResNet-50 inflated in time, with non-local blocks in one variant.

I3D is arXiv:1705.07750; the ResNet form and the non-local block are arXiv:1711.07971. Official
implementation: facebookresearch/SlowFast@287ec00, class `ResNet` with ``MODEL.ARCH: i3d``.

Deliberate differences: the head gives logits. The official one applies softmax in eval mode and,
where the clip is larger than the training crop, averages probabilities over places; here logits
are averaged, in training mode too (where the official code would flatten places into classes).

Shapes: B clips, T frames, H height, W width.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.resnet3d import (
    DenseHead,
    Stem,
    init_convolutions,
    res_blocks,
    trained_crop_px,
)

FAMILY: Final = Family(
    title="I3D (ResNet-50)",
    paper="arXiv:1705.07750",
    repository="facebookresearch/SlowFast@287ec00",
    licence="Apache-2.0",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class I3DConfig:
    """Numbers of a variant.

    Attributes:
        temporal_kernels: For each stage, the frames that each block spans.
        nonlocal_after: For each stage, the blocks that a non-local block follows.
        crop_px: Side of the training crop.
        dropout: Of the features before the classifier.
    """

    temporal_kernels: tuple[tuple[int, ...], ...] = (
        (3, 3, 3),
        (3, 1, 3, 1),
        (3, 1, 3, 1, 3, 1),
        (1, 3, 1),
    )
    nonlocal_after: tuple[tuple[int, ...], ...] = ((), (), (), ())
    crop_px: int = 224
    dropout: float = 0.5


class I3D(nn.Module):
    """Pairs of frames are merged once, after the first residual stage."""

    def __init__(self, config: I3DConfig, options: Options) -> None:
        super().__init__()
        if options.num_frames < 2:
            raise UnsupportedInputError(
                f"I3D merges pairs of frames and needs at least 2, not {options.num_frames}"
            )
        self.s1 = nn.Sequential(OrderedDict(pathway0_stem=Stem(64, temporal_kernel=5)))
        dims_in = (64, 256, 512, 1024)
        self.s2, self.s3, self.s4, self.s5 = (
            nn.Sequential(
                res_blocks(
                    0,
                    dim_in=dims_in[i],
                    dim_inner=64 * 2**i,
                    stride=1 if i == 0 else 2,
                    temporal_kernels=config.temporal_kernels[i],
                    nonlocal_after=config.nonlocal_after[i],
                    attention=options.attention,
                )
            )
            for i in range(4)
        )
        side = trained_crop_px(options, config.crop_px, smallest_px=32) // 32
        self.head = DenseHead(
            2048,
            options.one_head(),
            windows=[(options.num_frames // 2, side, side)],
            dropout=config.dropout,
        )
        init_convolutions(self)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes)."""
        x = self.s2(self.s1(clips))
        x = F.max_pool3d(x, (2, 1, 1))
        return self.head(self.s5(self.s4(self.s3(x))))


@register_model(family=FAMILY, clip=(8, 224, 224))
def i3d_r50(options: Options) -> I3D:
    """ResNet-50, 28 M parameters, 8 frames with a stride of 8."""
    return I3D(I3DConfig(), options)


@register_model(family=FAMILY, clip=(8, 224, 224))
def i3d_r50_nl(options: Options) -> I3D:
    """I3D-R50 with five softmax non-local blocks, 35 M parameters, 8 frames with a stride of 8."""
    return I3D(I3DConfig(nonlocal_after=((), (1, 3), (1, 3, 5), ())), options)
