"""C3D: eight 3 x 3 x 3 convolutions, five poolings and two wide linear layers; no normalisation.

arXiv:1412.0767. Official implementation with released checkpoints: open-mmlab/mmaction2@4d6c934
(mmaction/models/backbones/c3d.py with the head `I3DHead`).

Deliberate difference: the first linear layer is sized by the clip that the model is built for
(mmaction2 leaves its size to the user as ``out_dim``); the released checkpoints fit 16 frames of
112 px only.

Shapes: B clips, C channels, T frames, H height, W width.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model

FAMILY: Final = Family(
    title="C3D",
    paper="arXiv:1412.0767",
    repository="open-mmlab/mmaction2@4d6c934",
    licence="Apache-2.0",
    has_attention=False,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class C3DConfig:
    """Numbers of a variant.

    Attributes:
        dim_hidden: Width of the two linear layers.
        dropout: After each of them.
    """

    dim_hidden: int = 4096
    dropout: float = 0.5


class C3D(nn.Module):
    """Backbone and classifier, apart as in the checkpoints."""

    def __init__(self, config: C3DConfig, options: Options) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.backbone = Backbone(config, options)
        fc_cls = nn.Linear(config.dim_hidden, options.one_head())
        nn.init.normal_(fc_cls.weight, std=0.01)
        nn.init.zeros_(fc_cls.bias)
        self.cls_head = nn.Sequential(OrderedDict(fc_cls=fc_cls))

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes)."""
        x = self.backbone(clips)
        return self.cls_head(F.dropout(x, self.dropout, training=self.training))


class Backbone(nn.Module):
    """Convolutions that keep T, H and W; poolings that halve them, the first one not T."""

    def __init__(self, config: C3DConfig, options: Options) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.conv1a = Conv(3, 64)
        self.conv2a = Conv(64, 128)
        self.conv3a = Conv(128, 256)
        self.conv3b = Conv(256, 256)
        self.conv4a = Conv(256, 512)
        self.conv4b = Conv(512, 512)
        self.conv5a = Conv(512, 512)
        self.conv5b = Conv(512, 512)
        self.places = last_places(options.num_frames, options.height_px, options.width_px)
        num_places = self.places[0] * self.places[1] * self.places[2]
        self.fc6 = nn.Linear(512 * num_places, config.dim_hidden)
        self.fc7 = nn.Linear(config.dim_hidden, config.dim_hidden)
        for layer in (self.fc6, self.fc7):
            nn.init.normal_(layer.weight, std=0.005)
            nn.init.zeros_(layer.bias)

    def forward(self, clips: Tensor) -> Tensor:
        """Describe: (B, 3, T, H, W) -> (B, dim_hidden)."""
        places = last_places(*clips.shape[2:])
        if places != self.places:
            raise UnsupportedInputError(
                f"the linear layers expect a map of {self.places} (frames, height, width), and a "
                f"clip of {tuple(clips.shape[2:])} gives {places}",
                hint="build the model with the num_frames and resolution of its clips",
            )
        x = F.max_pool3d(self.conv1a(clips), (1, 2, 2))
        x = F.max_pool3d(self.conv2a(x), 2)
        x = F.max_pool3d(self.conv3b(self.conv3a(x)), 2)
        x = F.max_pool3d(self.conv4b(self.conv4a(x)), 2)
        x = F.max_pool3d(self.conv5b(self.conv5a(x)), 2, padding=(0, 1, 1))
        x = F.relu(self.fc6(x.flatten(1)), inplace=True)
        x = F.dropout(x, self.dropout, training=self.training)
        return F.relu(self.fc7(x), inplace=True)


class Conv(nn.Module):
    """Convolution 3 x 3 x 3 and ReLU."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(dim_in, dim_out, 3, padding=1)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out", nonlinearity="relu")
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Transform: (B, dim_in, T, H, W) -> (B, dim_out, T, H, W)."""
        return F.relu(self.conv(x), inplace=True)


def last_places(num_frames: int, height_px: int, width_px: int) -> tuple[int, int, int]:
    """Size of the map after the last pooling, which pads height and width by one.

    Raises:
        UnsupportedInputError: Nothing would be left.

    >>> last_places(16, 112, 112)
    (1, 4, 4)
    """
    if min(num_frames, height_px, width_px) < 16:
        raise UnsupportedInputError(
            "C3D needs at least 16 frames of 16 x 16 px, not "
            f"{num_frames} of {height_px} x {width_px}"
        )
    return num_frames // 16, height_px // 16 // 2 + 1, width_px // 16 // 2 + 1


@register_model(family=FAMILY, clip=(16, 112, 112), num_classes=101, label_space="ucf101")
def c3d(options: Options) -> C3D:
    """78 M parameters, 16 frames of 112 px, Sports-1M weights tuned on UCF-101."""
    return C3D(C3DConfig(), options)
