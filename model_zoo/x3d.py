"""X3D: a small image network expanded step by step into a cheap video network.

arXiv:2004.04730. Official implementation: facebookresearch/SlowFast@287ec00, class `X3D`.
Channelwise 3 x 3 x 3 convolutions between 1 x 1 x 1 ones; squeeze and excitation in every other
block; no stage merges frames.

Deliberate differences: the head gives logits. The official one applies softmax in eval mode and,
where the clip is larger than the training crop, averages probabilities over places; here logits
are averaged, in training mode too (where the official code would flatten places into classes).

Shapes: B clips, C channels, T frames, H height, W width, K classes.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.resnet3d import (
    ResBlock,
    Window,
    init_convolutions,
    trained_crop_px,
    window_means,
)

FAMILY: Final = Family(
    title="X3D",
    paper="arXiv:2004.04730",
    repository="facebookresearch/SlowFast@287ec00",
    licence="Apache-2.0",
    has_attention=False,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class X3DConfig:
    """Numbers of a variant.

    Attributes:
        depths: Blocks of each stage.
        widths: Channels of each stage; the stem has as many as the first.
        bottleneck_factor: Width inside a block over the stage's width.
        dim_features: Channels of the classifier's input.
        crop_px: Side of the training crop.
        dropout: Of the features before the classifier.
    """

    depths: tuple[int, int, int, int] = (3, 5, 11, 7)
    widths: tuple[int, int, int, int] = (24, 48, 96, 192)
    bottleneck_factor: float = 2.25
    dim_features: int = 2048
    crop_px: int
    dropout: float = 0.5


class X3D(nn.Module):
    """Stem and four stages halve height and width, 32 times in all; T stays."""

    def __init__(self, config: X3DConfig, options: Options) -> None:
        super().__init__()
        widths = config.widths
        self.s1 = nn.Sequential(OrderedDict(pathway0_stem=Stem(widths[0])))
        self.s2, self.s3, self.s4, self.s5 = (
            _stage(
                widths[max(i - 1, 0)],
                int(config.bottleneck_factor * widths[i]),
                widths[i],
                depth=config.depths[i],
            )
            for i in range(4)
        )
        side = math.ceil(trained_crop_px(options, config.crop_px, smallest_px=1) / 32)
        self.head = Head(
            config,
            int(config.bottleneck_factor * widths[3]),
            options.one_head(),
            window=(options.num_frames, side, side),
        )
        init_convolutions(self)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, K)."""
        return self.head(self.s5(self.s4(self.s3(self.s2(self.s1(clips))))))


class Stem(nn.Module):
    """A convolution over space, then one over time for each channel alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_xy = nn.Conv3d(
            3, width, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1), bias=False
        )
        self.conv = nn.Conv3d(width, width, (5, 1, 1), padding=(2, 0, 0), groups=width, bias=False)
        self.bn = nn.BatchNorm3d(width)

    def forward(self, clips: Tensor) -> Tensor:
        """Embed: (B, 3, T, H, W) -> (B, width, T, H / 2, W / 2)."""
        return F.relu(self.bn(self.conv(self.conv_xy(clips))), inplace=True)


class Bottleneck(nn.Module):
    """Widen, mix neighbours channel by channel, excite, narrow."""

    def __init__(
        self, dim_in: int, dim_inner: int, dim_out: int, *, stride: int, has_excitation: bool
    ) -> None:
        super().__init__()
        self.a = nn.Conv3d(dim_in, dim_inner, 1, bias=False)
        self.a_bn = nn.BatchNorm3d(dim_inner)
        self.b = nn.Conv3d(
            dim_inner,
            dim_inner,
            3,
            stride=(1, stride, stride),
            padding=1,
            groups=dim_inner,
            bias=False,
        )
        self.b_bn = nn.BatchNorm3d(dim_inner)
        self.se = SqueezeExcitation(dim_inner) if has_excitation else nn.Identity()
        self.c = nn.Conv3d(dim_inner, dim_out, 1, bias=False)
        self.c_bn = nn.BatchNorm3d(dim_out)
        nn.init.zeros_(self.c_bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Transform: (B, dim_in, T, H, W) -> (B, dim_out, T, H / stride, W / stride)."""
        x = F.relu(self.a_bn(self.a(x)), inplace=True)
        x = F.silu(self.se(self.b_bn(self.b(x))))
        return self.c_bn(self.c(x))


class SqueezeExcitation(nn.Module):
    """Scale each channel by what the mean of all channels over the clip says."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        dim_squeezed = squeezed_dim(dim)
        self.fc1 = nn.Conv3d(dim, dim_squeezed, 1)
        self.fc2 = nn.Conv3d(dim_squeezed, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scale: (B, C, T, H, W) -> (B, C, T, H, W)."""
        scale = F.relu(self.fc1(x.mean(dim=(2, 3, 4), keepdim=True)))
        return x * self.fc2(scale).sigmoid()


class Head(nn.Module):
    """Widen, average a window slid over larger maps, classify, average logits over places."""

    def __init__(
        self, config: X3DConfig, dim_inner: int, num_classes: int, *, window: Window
    ) -> None:
        super().__init__()
        self.window = window
        self.dropout = config.dropout
        self.conv_5 = nn.Conv3d(config.widths[3], dim_inner, 1, bias=False)
        self.conv_5_bn = nn.BatchNorm3d(dim_inner)
        self.lin_5 = nn.Conv3d(dim_inner, config.dim_features, 1, bias=False)
        self.projection = nn.Linear(config.dim_features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify: (B, C, T, H, W) -> (B, K)."""
        x = F.relu(self.conv_5_bn(self.conv_5(x)), inplace=True)
        x = F.relu(self.lin_5(window_means(x, self.window)), inplace=True)
        x = x.permute(0, 2, 3, 4, 1)  # (B, T, H, W, C) of windows
        x = F.dropout(x, self.dropout, training=self.training)
        return self.projection(x).mean(dim=(1, 2, 3))


def _stage(dim_in: int, dim_inner: int, dim_out: int, *, depth: int) -> nn.Sequential:
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    for i in range(depth):
        dim, stride = (dim_in, 2) if i == 0 else (dim_out, 1)
        branch2 = Bottleneck(dim, dim_inner, dim_out, stride=stride, has_excitation=i % 2 == 0)
        blocks[f"pathway0_res{i}"] = ResBlock(branch2, dim, dim_out, stride)
    return nn.Sequential(blocks)


def squeezed_dim(dim: int) -> int:
    """A sixteenth of `dim` as a multiple of 8, at least 8 and never 10 % too small.

    >>> [squeezed_dim(dim) for dim in (54, 108, 216, 432)]
    [8, 8, 16, 32]
    """
    wanted = dim / 16
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


@register_model(family=FAMILY, clip=(13, 160, 160))
def x3d_s(options: Options) -> X3D:
    """Small: 4 M parameters, 13 frames of 160 px with a stride of 6."""
    return X3D(X3DConfig(crop_px=160), options)


@register_model(family=FAMILY, clip=(16, 224, 224))
def x3d_m(options: Options) -> X3D:
    """Medium: the network of x3d_s on 16 frames of 224 px with a stride of 5."""
    return X3D(X3DConfig(crop_px=224), options)


@register_model(family=FAMILY, clip=(16, 312, 312))
def x3d_l(options: Options) -> X3D:
    """Large: 6 M parameters, twice as deep, 16 frames of 312 px with a stride of 5."""
    return X3D(X3DConfig(depths=(5, 10, 25, 15), crop_px=312), options)


@register_model(
    family=FAMILY,
    clip=(8, 32, 32),
    num_classes={"verb": 12, "noun": 8},
    label_space="motion",
)
def x3d_nano(options: Options) -> X3D:
    """For the motion benchmark: 6 blocks, 16 to 64 channels."""
    config = X3DConfig(
        depths=(1, 2, 2, 1), widths=(16, 24, 48, 64), dim_features=128, crop_px=32, dropout=0.0
    )
    return X3D(config, options)
