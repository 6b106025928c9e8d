"""Residual networks over (C, T, H, W) maps, with the names of PySlowFast's checkpoints.

Source: facebookresearch/SlowFast@287ec00, slowfast/models/{stem,resnet,nonlocal,head}_helper.py.
Shapes: B clips, C channels, T frames, H height, W width, N places of a map, K classes.
"""

from collections import OrderedDict
from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Options
from model_zoo.layers.attention import attend


class Stem(nn.Module):
    """Convolution (t, 7, 7) and max-pooling, each halving height and width."""

    def __init__(self, width: int, temporal_kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(
            3,
            width,
            (temporal_kernel, 7, 7),
            stride=(1, 2, 2),
            padding=(temporal_kernel // 2, 3, 3),
            bias=False,
        )
        self.bn = nn.BatchNorm3d(width)

    def forward(self, clips: Tensor) -> Tensor:
        """Embed: (B, 3, T, H, W) -> (B, width, T, H / 4, W / 4)."""
        x = F.relu(self.bn(self.conv(clips)), inplace=True)
        return F.max_pool3d(x, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))


class Bottleneck(nn.Module):
    """Convolutions (t, 1, 1), (1, 3, 3) and (1, 1, 1); the second one strides."""

    def __init__(
        self, dim_in: int, dim_inner: int, dim_out: int, *, temporal_kernel: int, stride: int
    ) -> None:
        super().__init__()
        self.a = nn.Conv3d(
            dim_in,
            dim_inner,
            (temporal_kernel, 1, 1),
            padding=(temporal_kernel // 2, 0, 0),
            bias=False,
        )
        self.a_bn = nn.BatchNorm3d(dim_inner)
        self.b = nn.Conv3d(
            dim_inner,
            dim_inner,
            (1, 3, 3),
            stride=(1, stride, stride),
            padding=(0, 1, 1),
            bias=False,
        )
        self.b_bn = nn.BatchNorm3d(dim_inner)
        self.c = nn.Conv3d(dim_inner, dim_out, 1, bias=False)
        self.c_bn = nn.BatchNorm3d(dim_out)
        nn.init.zeros_(self.c_bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Transform: (B, dim_in, T, H, W) -> (B, dim_out, T, H / stride, W / stride)."""
        x = F.relu(self.a_bn(self.a(x)), inplace=True)
        x = F.relu(self.b_bn(self.b(x)), inplace=True)
        return self.c_bn(self.c(x))


class ResBlock(nn.Module):
    """`branch2` plus its input, projected by `branch1` where width or size changes."""

    def __init__(self, branch2: nn.Module, dim_in: int, dim_out: int, stride: int) -> None:
        super().__init__()
        self.has_projection = dim_in != dim_out or stride != 1
        if self.has_projection:
            self.branch1 = nn.Conv3d(dim_in, dim_out, 1, stride=(1, stride, stride), bias=False)
            self.branch1_bn = nn.BatchNorm3d(dim_out)
        self.branch2 = branch2

    def forward(self, x: Tensor) -> Tensor:
        """Transform: (B, dim_in, T, H, W) -> (B, dim_out, T, H / stride, W / stride)."""
        shortcut = self.branch1_bn(self.branch1(x)) if self.has_projection else x
        return F.relu(shortcut + self.branch2(x), inplace=True)


class NonLocal(nn.Module):
    """Non-local block (arXiv:1711.07971): every place sees a 2 x 2 max-pooled map of all frames.

    Args:
        attention: Backend of the softmax instantiation; None is the dot-product instantiation,
            whose similarities are divided by the number of places instead.
    """

    def __init__(self, dim: int, *, attention: str | None) -> None:
        super().__init__()
        dim_inner = dim // 2
        self.attention = attention
        self.conv_theta = nn.Conv3d(dim, dim_inner, 1)
        self.conv_phi = nn.Conv3d(dim, dim_inner, 1)
        self.conv_g = nn.Conv3d(dim, dim_inner, 1)
        self.conv_out = nn.Conv3d(dim_inner, dim, 1)
        self.bn = nn.BatchNorm3d(dim)
        nn.init.zeros_(self.bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Add what the other places say: (B, C, T, H, W) -> (B, C, T, H, W)."""
        B, _, T, H, W = x.shape
        if min(H, W) < 2:
            raise UnsupportedInputError(
                f"a non-local block needs maps of at least 2 x 2 places, not {H} x {W}",
                hint="clips of at least 32 px a side give them",
            )
        pooled = F.max_pool3d(x, (1, 2, 2))
        theta = self.conv_theta(x).flatten(2)  # (B, C / 2, N)
        phi, g = self.conv_phi(pooled).flatten(2), self.conv_g(pooled).flatten(2)
        y = self._gather(theta, phi, g).reshape(B, -1, T, H, W)  # (B, C / 2, T, H, W)
        return x + self.bn(self.conv_out(y))

    def _gather(self, theta: Tensor, phi: Tensor, g: Tensor) -> Tensor:
        """What each place of `theta` takes from `g`: (B, C, N), (B, C, M) twice -> (B, C, N)."""
        if self.attention is None:
            similarity = theta.transpose(1, 2) @ phi / phi.shape[2]  # (B, N, M)
            return g @ similarity.transpose(1, 2)
        q, k, v = (z.transpose(1, 2).unsqueeze(1) for z in (theta, phi, g))  # (B, 1, N, C)
        return attend(q, k, v, backend=self.attention).squeeze(1).transpose(1, 2)


def res_blocks(
    pathway: int,
    *,
    dim_in: int,
    dim_inner: int,
    stride: int,
    temporal_kernels: Sequence[int],
    nonlocal_after: Collection[int] = (),
    attention: str | None = None,
) -> OrderedDict[str, nn.Module]:
    """One stage of one pathway, by checkpoint name, in the order of execution.

    Args:
        dim_inner: Width inside the bottlenecks; the stage's own is four times that.
        stride: Of the first block, over height and width.
        temporal_kernels: Frames that each block's first convolution spans, one entry a block.
        nonlocal_after: Blocks that a non-local block follows.
        attention: See `NonLocal`.
    """
    dim_out = 4 * dim_inner
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    for i, temporal_kernel in enumerate(temporal_kernels):
        dim, step = (dim_in, stride) if i == 0 else (dim_out, 1)
        branch2 = Bottleneck(dim, dim_inner, dim_out, temporal_kernel=temporal_kernel, stride=step)
        blocks[f"pathway{pathway}_res{i}"] = ResBlock(branch2, dim, dim_out, step)
        if i in nonlocal_after:
            blocks[f"pathway{pathway}_nonlocal{i}"] = NonLocal(dim_out, attention=attention)
    return blocks


Window = tuple[int, int, int]


class DenseHead(nn.Module):
    """Mean over a window of each pathway's map, slid over larger maps; logits averaged over places.

    Args:
        windows: (frames, height, width) of each pathway's map that one prediction sees.
    """

    def __init__(
        self, dim: int, num_classes: int, *, windows: Sequence[Window], dropout: float
    ) -> None:
        super().__init__()
        self.windows = tuple(windows)
        self.dropout = dropout
        self.projection = nn.Linear(dim, num_classes)

    def forward(self, *pathways: Tensor) -> Tensor:
        """Classify: each (B, C, T, H, W) -> (B, K)."""
        pooled = [window_means(x, w) for x, w in zip(pathways, self.windows, strict=True)]
        x = torch.cat(pooled, dim=1) if len(pooled) > 1 else pooled[0]
        x = x.permute(0, 2, 3, 4, 1)  # (B, T, H, W, C) of windows
        x = F.dropout(x, self.dropout, training=self.training)
        return self.projection(x).mean(dim=(1, 2, 3))


def window_means(x: Tensor, window: Window) -> Tensor:
    """Mean over every placement of `window`: (B, C, T, H, W) -> (B, C, T - t + 1, ...).

    Raises:
        UnsupportedInputError: The map is smaller than the window.
    """
    places = tuple(x.shape[2:])
    if any(size < side for size, side in zip(places, window, strict=True)):
        raise UnsupportedInputError(
            f"clip too small: the head averages {window} places (frames, height, width) and the "
            f"clip gives {places}",
            hint="build the model with the num_frames and resolution of its clips",
        )
    if x.is_cpu and x.element_size() < 4:  # torch has no kernel for half precision there
        return F.avg_pool3d(x.float(), window, stride=1).to(x.dtype)
    return F.avg_pool3d(x, window, stride=1)


def trained_crop_px(options: Options, crop_px: int, *, smallest_px: int) -> int:
    """Side of the crop that one prediction of the head sees.

    Official configs tell the training crop, which sizes the head's window, from the larger crop
    tested on, over which the window slides. A model built for clips larger than `crop_px` is
    therefore the released model tested densely; a smaller one has a window that fits.

    Raises:
        UnsupportedInputError: No place would be left.
    """
    side_px = min(options.height_px, options.width_px)
    if side_px < smallest_px:
        raise UnsupportedInputError(
            f"clips must be at least {smallest_px} px a side, not {side_px}"
        )
    return min(crop_px, side_px)


def init_convolutions(model: nn.Module) -> None:
    """Draw weights as the official code does: He (fan out) for convolutions, small for linear."""
    for module in model.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        if isinstance(module, nn.Conv3d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
