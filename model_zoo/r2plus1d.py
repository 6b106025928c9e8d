"""R(2+1)D-18: each 3-D convolution of a ResNet-18 split into one over space and one over time.

arXiv:1711.11248. Official implementation: pytorch/vision@0.28.0, `r2plus1d_18` of
torchvision/models/video/resnet.py. No difference.

Shapes: B clips, C channels, T frames, H height, W width.
"""

from dataclasses import dataclass
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._registry import Family, Options, register_model

FAMILY: Final = Family(
    title="R(2+1)D",
    paper="arXiv:1711.11248",
    repository="pytorch/vision@0.28.0",
    licence="BSD-3-Clause",
    has_attention=False,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class R2Plus1DConfig:
    """Numbers of a variant.

    Attributes:
        depths: Blocks of each stage.
        width: Channels of the stem and the first stage; doubles from stage to stage.
    """

    depths: tuple[int, int, int, int] = (2, 2, 2, 2)
    width: int = 64


class R2Plus1D(nn.Module):
    """Stages 2 to 4 halve frames, height and width; any clip is averaged at the end."""

    def __init__(self, config: R2Plus1DConfig, options: Options) -> None:
        super().__init__()
        C = config.width
        split = C * 45 // 64  # 45 in the official stem of 64
        self.stem = nn.Sequential(
            nn.Conv3d(3, split, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False),
            nn.BatchNorm3d(split),
            nn.ReLU(inplace=True),
            nn.Conv3d(split, C, (3, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(C),
            nn.ReLU(inplace=True),
        )
        self.layer1 = _stage(C, C, depth=config.depths[0], stride=1)
        self.layer2 = _stage(C, 2 * C, depth=config.depths[1], stride=2)
        self.layer3 = _stage(2 * C, 4 * C, depth=config.depths[2], stride=2)
        self.layer4 = _stage(4 * C, 8 * C, depth=config.depths[3], stride=2)
        self.fc = nn.Linear(8 * C, options.one_head())
        self.apply(_init)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes)."""
        x = self.layer4(self.layer3(self.layer2(self.layer1(self.stem(clips)))))
        return self.fc(x.mean(dim=(2, 3, 4)))


class BasicBlock(nn.Module):
    """Two split convolutions around a shortcut, projected where the size changes."""

    def __init__(self, dim_in: int, dim_out: int, *, stride: int) -> None:
        super().__init__()
        dim_split = split_dim(dim_in, dim_out)
        self.conv1 = nn.Sequential(
            SplitConv(dim_in, dim_split, dim_out, stride=stride),
            nn.BatchNorm3d(dim_out),
            nn.ReLU(inplace=True),
        )
        self.conv2 = nn.Sequential(
            SplitConv(dim_out, dim_split, dim_out, stride=1), nn.BatchNorm3d(dim_out)
        )
        self.has_projection = stride != 1 or dim_in != dim_out
        if self.has_projection:
            self.downsample = nn.Sequential(
                nn.Conv3d(dim_in, dim_out, 1, stride=stride, bias=False),
                nn.BatchNorm3d(dim_out),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Transform: (B, dim_in, T, H, W) -> (B, dim_out, T / stride, H / stride, W / stride)."""
        shortcut = self.downsample(x) if self.has_projection else x
        return F.relu(self.conv2(self.conv1(x)) + shortcut, inplace=True)


class SplitConv(nn.Sequential):
    """Convolution (1, 3, 3), which strides over space, then (3, 1, 1), which strides over time."""

    def __init__(self, dim_in: int, dim_split: int, dim_out: int, *, stride: int) -> None:
        super().__init__(
            nn.Conv3d(
                dim_in,
                dim_split,
                (1, 3, 3),
                stride=(1, stride, stride),
                padding=(0, 1, 1),
                bias=False,
            ),
            nn.BatchNorm3d(dim_split),
            nn.ReLU(inplace=True),
            nn.Conv3d(
                dim_split,
                dim_out,
                (3, 1, 1),
                stride=(stride, 1, 1),
                padding=(1, 0, 0),
                bias=False,
            ),
        )


def split_dim(dim_in: int, dim_out: int) -> int:
    """Channels between the halves that give a 3 x 3 x 3 convolution's number of parameters.

    Both convolutions of a block use the first one's, as the official code does.

    >>> [split_dim(64, 64), split_dim(64, 128), split_dim(128, 128)]
    [144, 230, 288]
    """
    return dim_in * dim_out * 27 // (dim_in * 9 + dim_out * 3)


def _stage(dim_in: int, dim_out: int, *, depth: int, stride: int) -> nn.Sequential:
    first = BasicBlock(dim_in, dim_out, stride=stride)
    return nn.Sequential(first, *(BasicBlock(dim_out, dim_out, stride=1) for _ in range(depth - 1)))


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv3d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
        nn.init.zeros_(module.bias)


@register_model(family=FAMILY, clip=(16, 112, 112))
def r2plus1d_18(options: Options) -> R2Plus1D:
    """18 layers, 32 M parameters, 16 frames of 112 px."""
    return R2Plus1D(R2Plus1DConfig(), options)


@register_model(
    family=FAMILY,
    clip=(8, 32, 32),
    num_classes={"verb": 12, "noun": 8},
    label_space="motion",
)
def r2plus1d_nano(options: Options) -> R2Plus1D:
    """For the motion benchmark: a block a stage, 12 channels at first."""
    return R2Plus1D(R2Plus1DConfig(depths=(1, 1, 1, 1), width=12), options)
