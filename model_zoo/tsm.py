"""TSM: TSN whose residual branches first exchange an eighth of the channels between frames.

arXiv:1811.08383. Official implementation with released checkpoints:
mit-han-lab/temporal-shift-module@1f6a834 (``shift8_blockres``), whose names are torchvision's
behind ``base_model.``, with ``conv1.net`` where the shift wraps a convolution and the classifier
in ``new_fc``. mmaction2's TSM-R50 files, which name the same tensors otherwise, load too.

Shapes: B clips, C channels, T frames, H height, W width, K classes.
"""

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.resnet50 import ResNet50

FAMILY: Final = Family(
    title="TSM",
    paper="arXiv:1811.08383",
    repository="mit-han-lab/temporal-shift-module@1f6a834",
    licence="MIT",
    has_attention=False,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class TSMConfig:
    """Numbers of a variant.

    Attributes:
        shift_divisor: One in so many channels comes from the next frame, as many from the last.
        dropout: Of each frame's features before the classifier.
        width: Channels of the image network's stem.
        depths: Blocks of each of its stages.
    """

    shift_divisor: int = 8
    dropout: float = 0.5
    width: int = 64
    depths: tuple[int, int, int, int] = (3, 4, 6, 3)


class TSM(nn.Module):
    """Frames are the batch of an image network in which only the shifts know of time."""

    def __init__(self, config: TSMConfig, options: Options) -> None:
        super().__init__()
        self.num_frames = options.num_frames
        self.dropout = config.dropout
        self.base_model = ResNet50(width=config.width, depths=config.depths)
        for block in self.base_model.blocks():
            block.conv1 = ShiftThen(
                block.conv1, num_frames=options.num_frames, divisor=config.shift_divisor
            )
        self.new_fc = nn.Linear(self.base_model.dim_features, options.one_head())
        nn.init.normal_(self.new_fc.weight, std=0.001)
        nn.init.zeros_(self.new_fc.bias)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, K)."""
        T = clips.shape[2]
        if self.num_frames != T:
            raise UnsupportedInputError(
                f"this model shifts among {self.num_frames} frames, not {T}",
                hint="build it with the num_frames of its clips; the weights fit any",
            )
        x = self.base_model(clips.transpose(1, 2).flatten(0, 1))  # (B * T, C)
        x = self.new_fc(F.dropout(x, self.dropout, training=self.training))
        return x.unflatten(0, (-1, T)).mean(dim=1)


class ShiftThen(nn.Module):
    """Shift channels among the frames of each clip, then apply `net`."""

    def __init__(self, net: nn.Module, *, num_frames: int, divisor: int) -> None:
        super().__init__()
        self.net = net
        self.num_frames = num_frames
        self.divisor = divisor

    def forward(self, x: Tensor) -> Tensor:
        """Transform: (B * T, C, H, W) -> (B * T, ...)."""
        frames = x.unflatten(0, (-1, self.num_frames))  # (B, T, C, H, W)
        return self.net(shifted(frames, x.shape[1] // self.divisor).flatten(0, 1))


def shifted(x: Tensor, num_channels: int) -> Tensor:
    """The first channels from the next frame, as many more from the last, the rest as they are.

    Args:
        x: (B, T, C, H, W), as is the result. Beyond the ends of a clip are zeros.
        num_channels: How many go each way.
    """
    future, past, present = x.split(
        (num_channels, num_channels, x.shape[2] - 2 * num_channels), dim=2
    )
    zeros = torch.zeros_like(future[:, :1])
    return torch.cat(
        (
            torch.cat((future[:, 1:], zeros), dim=1),
            torch.cat((zeros, past[:, :-1]), dim=1),
            present,
        ),
        dim=2,
    )


@register_model(family=FAMILY, clip=(8, 224, 224))
def tsm_r50(options: Options) -> TSM:
    """ResNet-50, 24 M parameters, 8 frames spread over the video."""
    return TSM(TSMConfig(), options)


@register_model(
    family=FAMILY,
    clip=(8, 32, 32),
    num_classes={"verb": 12, "noun": 8},
    label_space="motion",
)
def tsm_nano(options: Options) -> TSM:
    """For the motion benchmark: a block a stage, 12 channels at first."""
    return TSM(TSMConfig(width=12, depths=(1, 1, 1, 1), dropout=0.0), options)
