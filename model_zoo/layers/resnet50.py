"""ResNet-50 (arXiv:1512.03385) over single frames, with the names of torchvision's.

Source: pytorch/vision@0.28.0, torchvision/models/resnet.py (stride in the 3 x 3 convolution).
Shapes: B frames, C channels, H height, W width.
"""

from collections.abc import Iterator

import torch.nn.functional as F
from torch import Tensor, nn


class ResNet50(nn.Module):
    """Trunk without the classifier: a mean over places gives `dim_features`, 2048 as published.

    Args:
        width: Channels of the stem, 1/32 of the features.
        depths: Blocks of each stage.
    """

    def __init__(
        self, *, width: int = 64, depths: tuple[int, int, int, int] = (3, 4, 6, 3)
    ) -> None:
        super().__init__()
        C = width
        self.dim_features = 32 * C
        self.conv1 = nn.Conv2d(3, C, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(C)
        self.layer1 = _stage(C, C, depth=depths[0], stride=1)
        self.layer2 = _stage(4 * C, 2 * C, depth=depths[1], stride=2)
        self.layer3 = _stage(8 * C, 4 * C, depth=depths[2], stride=2)
        self.layer4 = _stage(16 * C, 8 * C, depth=depths[3], stride=2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def blocks(self) -> Iterator["Bottleneck"]:
        """Every residual block, from first to last."""
        return (module for module in self.modules() if isinstance(module, Bottleneck))

    def forward(self, frames: Tensor) -> Tensor:
        """Describe each frame: (B, 3, H, W) -> (B, dim_features)."""
        x = F.relu(self.bn1(self.conv1(frames)), inplace=True)
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(dim=(2, 3))


class Bottleneck(nn.Module):
    """Convolutions 1 x 1, 3 x 3 (strided) and 1 x 1 around a shortcut.

    Attributes:
        conv1: May be wrapped by what shall happen inside the residual branch first.
    """

    def __init__(self, dim_in: int, dim_inner: int, *, stride: int) -> None:
        super().__init__()
        dim_out = 4 * dim_inner
        self.conv1: nn.Module = nn.Conv2d(dim_in, dim_inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(dim_inner)
        self.conv2 = nn.Conv2d(dim_inner, dim_inner, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(dim_inner)
        self.conv3 = nn.Conv2d(dim_inner, dim_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(dim_out)
        self.has_projection = stride != 1 or dim_in != dim_out
        if self.has_projection:
            self.downsample = nn.Sequential(
                nn.Conv2d(dim_in, dim_out, 1, stride=stride, bias=False), nn.BatchNorm2d(dim_out)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Transform: (B, dim_in, H, W) -> (B, 4 * dim_inner, H / stride, W / stride)."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        shortcut = self.downsample(x) if self.has_projection else x
        return F.relu(y + shortcut, inplace=True)


def _stage(dim_in: int, dim_inner: int, *, depth: int, stride: int) -> nn.Sequential:
    first = Bottleneck(dim_in, dim_inner, stride=stride)
    rest = (Bottleneck(4 * dim_inner, dim_inner, stride=1) for _ in range(depth - 1))
    return nn.Sequential(first, *rest)
