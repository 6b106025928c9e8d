"""SlowFast: a wide pathway on few frames and a thin one on all, joined after every stage.

arXiv:1812.03982. Official implementation: facebookresearch/SlowFast@287ec00, class `SlowFast`.

One clip goes in. Its slow frames are picked as the official loader picks them, at
``linspace(0, T - 1, T / alpha)`` truncated, which is not every alpha-th frame: 0, 4, 8, 13, 17,
22, 26, 31 of 32.

Deliberate differences: the head gives logits. The official one applies softmax in eval mode and,
where the clip is larger than the training crop, averages probabilities over places; here logits
are averaged, in training mode too (where the official code would flatten places into classes).

Shapes: B clips, C channels of the slow pathway, T frames, H height, W width. The fast pathway has
C / 8 channels, the slow one T / alpha frames.
"""

from dataclasses import dataclass
from typing import Final

import torch
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
    title="SlowFast",
    paper="arXiv:1812.03982",
    repository="facebookresearch/SlowFast@287ec00",
    licence="Apache-2.0",
    has_attention=False,
)

FAST_WIDTH_DIVISOR: Final = 8
FUSED_WIDTH_FACTOR: Final = 2  # channels that the slow pathway receives for each fast one


@dataclass(frozen=True, kw_only=True, slots=True)
class SlowFastConfig:
    """Numbers of a variant.

    Attributes:
        alpha: Fast frames for each slow one.
        fusion_kernel: Fast frames that a lateral connection spans.
        depths: Blocks of each stage.
        num_temporal: Of those, the leading ones that may span three frames.
        nonlocal_after: For each stage, the slow blocks that a non-local block follows.
        crop_px: Side of the training crop.
        dropout: Of the features before the classifier.
    """

    alpha: int = 4
    fusion_kernel: int = 7
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    num_temporal: tuple[int, int, int, int] = (3, 4, 6, 3)
    nonlocal_after: tuple[tuple[int, ...], ...] = ((), (), (), ())
    crop_px: int = 224
    dropout: float = 0.5


class SlowFast(nn.Module):
    """Both pathways keep their frame counts to the end."""

    def __init__(self, config: SlowFastConfig, options: Options) -> None:
        super().__init__()
        self.slow_indices = slow_frame_indices(options.num_frames, config.alpha)
        self.num_frames = options.num_frames
        self.s1 = Pathways(
            pathway0_stem=Stem(64, temporal_kernel=1),
            pathway1_stem=Stem(64 // FAST_WIDTH_DIVISOR, temporal_kernel=5),
        )
        self.s2, self.s3, self.s4, self.s5 = (_stage(config, i) for i in range(4))
        self.s1_fuse, self.s2_fuse, self.s3_fuse, self.s4_fuse = (
            FastToSlow(dim // FAST_WIDTH_DIVISOR, config) for dim in (64, 256, 512, 1024)
        )
        side = trained_crop_px(options, config.crop_px, smallest_px=32) // 32
        self.head = DenseHead(
            2048 + 2048 // FAST_WIDTH_DIVISOR,
            options.one_head(),
            windows=[(len(self.slow_indices), side, side), (options.num_frames, side, side)],
            dropout=config.dropout,
        )
        init_convolutions(self)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes)."""
        if clips.shape[2] != self.num_frames:
            raise UnsupportedInputError(
                f"this model was built for {self.num_frames} frames, not {clips.shape[2]}",
                hint="build it with the num_frames of its clips",
            )
        # slices, not an index tensor: nothing to copy to the device
        slow = torch.cat([clips[:, :, i : i + 1] for i in self.slow_indices], dim=2)
        slow, fast = self.s1(slow, clips)
        slow, fast = self.s2(self.s1_fuse(slow, fast), fast)
        slow, fast = self.s3(self.s2_fuse(slow, fast), fast)
        slow, fast = self.s4(self.s3_fuse(slow, fast), fast)
        slow, fast = self.s5(self.s4_fuse(slow, fast), fast)
        return self.head(slow, fast)


class Pathways(nn.ModuleDict):
    """Blocks of both pathways in one namespace, as the checkpoints have them."""

    def __init__(self, **blocks: nn.Module) -> None:
        super().__init__(blocks)

    def forward(self, slow: Tensor, fast: Tensor) -> tuple[Tensor, Tensor]:
        """Run the blocks of each pathway on its own map."""
        for name, block in self.items():
            if name.startswith("pathway0"):
                slow = block(slow)
            else:
                fast = block(fast)
        return slow, fast


class FastToSlow(nn.Module):
    """Lateral connection: a convolution strided over time brings fast features to slow frames."""

    def __init__(self, dim_fast: int, config: SlowFastConfig) -> None:
        super().__init__()
        self.conv_f2s = nn.Conv3d(
            dim_fast,
            dim_fast * FUSED_WIDTH_FACTOR,
            (config.fusion_kernel, 1, 1),
            stride=(config.alpha, 1, 1),
            padding=(config.fusion_kernel // 2, 0, 0),
            bias=False,
        )
        self.bn = nn.BatchNorm3d(dim_fast * FUSED_WIDTH_FACTOR)

    def forward(self, slow: Tensor, fast: Tensor) -> Tensor:
        """Widen the slow map: (B, C, T / alpha, H, W) -> (B, C + C / 4, T / alpha, H, W)."""
        lateral = F.relu(self.bn(self.conv_f2s(fast)), inplace=True)
        return torch.cat((slow, lateral), dim=1)


def _stage(config: SlowFastConfig, i: int) -> Pathways:
    dim_in = 64 if i == 0 else 128 * 2**i
    dim_inner = 64 * 2**i
    stride = 1 if i == 0 else 2
    num_temporal, depth = config.num_temporal[i], config.depths[i]
    num_plain = depth - num_temporal
    slow_kernel = 1 if i < 2 else 3
    slow = res_blocks(
        0,
        dim_in=dim_in + dim_in // FAST_WIDTH_DIVISOR * FUSED_WIDTH_FACTOR,
        dim_inner=dim_inner,
        stride=stride,
        temporal_kernels=(slow_kernel,) * num_temporal + (1,) * num_plain,
        nonlocal_after=config.nonlocal_after[i],
    )
    fast = res_blocks(
        1,
        dim_in=dim_in // FAST_WIDTH_DIVISOR,
        dim_inner=dim_inner // FAST_WIDTH_DIVISOR,
        stride=stride,
        temporal_kernels=(3,) * num_temporal + (1,) * num_plain,
    )
    return Pathways(**slow, **fast)


def slow_frame_indices(num_frames: int, alpha: int) -> tuple[int, ...]:
    """The frames of a clip that the slow pathway sees.

    Raises:
        UnsupportedInputError: The clip has no whole number of slow frames.

    >>> slow_frame_indices(32, alpha=4)
    (0, 4, 8, 13, 17, 22, 26, 31)
    """
    if num_frames % alpha:
        raise UnsupportedInputError(
            f"num_frames must be a multiple of {alpha} for both pathways to meet, not {num_frames}"
        )
    # float32 on the CPU as in the official loader: its rounding moves one frame of some lengths
    places = torch.linspace(
        0, num_frames - 1, num_frames // alpha, dtype=torch.float32, device="cpu"
    )
    return tuple(places.long().tolist())


@register_model(family=FAMILY, clip=(32, 224, 224))
def slowfast_r50_4x16(options: Options) -> SlowFast:
    """ResNet-50, 34 M parameters, 4 slow frames of 32 with a stride of 2."""
    return SlowFast(SlowFastConfig(alpha=8, fusion_kernel=5), options)


@register_model(family=FAMILY, clip=(32, 224, 224))
def slowfast_r50_8x8(options: Options) -> SlowFast:
    """ResNet-50, 35 M parameters, 8 slow frames of 32 with a stride of 2."""
    return SlowFast(SlowFastConfig(), options)


@register_model(family=FAMILY, clip=(32, 224, 224))
def slowfast_r101_8x8(options: Options) -> SlowFast:
    """ResNet-101, 63 M parameters, 8 slow frames of 32 with a stride of 2."""
    config = SlowFastConfig(fusion_kernel=5, depths=(3, 4, 23, 3), num_temporal=(3, 4, 23, 3))
    return SlowFast(config, options)


@register_model(family=FAMILY, clip=(64, 224, 224))
def slowfast_r101_nl_16x8(options: Options) -> SlowFast:
    """ResNet-101 with three non-local blocks, 60 M parameters, 16 slow frames of 64."""
    config = SlowFastConfig(
        fusion_kernel=5, depths=(3, 4, 23, 3), nonlocal_after=((), (), (6, 13, 20), ())
    )
    return SlowFast(config, options)
