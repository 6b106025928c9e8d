"""Canny's edges with Otsu's threshold, as OpenCV finds them.

Source: modules/imgproc/src/canny.cpp and thresh.cpp of OpenCV 4: 3 x 3 Sobel, L1 magnitude, no
blur; the high threshold is Otsu's, the low one half of it.

Shapes: F frames, H x W pixels.
"""

from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

# tan(22.5 degrees) in units of 2 ** -15
TAN_SHIFT: Final = 15
TAN_22: Final = 13573


def edge_maps(rgb: Tensor, *, hysteresis_steps: int) -> Tensor:
    """Mark edges as OpenCV's Canny with Otsu's threshold: (F, 3, H, W) in 0..255 -> bool (F, H, W).

    All arithmetic is of integers or exact, hence the same on every device. Only `hysteresis_steps`
    differs from OpenCV, which follows weak edges to their end.
    """
    grey = grey_levels(rgb)
    high = otsu_threshold(grey)[:, None, None]
    across, down = sobel(grey)
    magnitude = across.abs() + down.abs()
    weak = _is_peak(across, down, magnitude) & (magnitude > (high >> 1))
    return _followed(weak & (magnitude > high), weak, hysteresis_steps)


def grey_levels(rgb: Tensor) -> Tensor:
    """Luma rounded to 0..255: (F, 3, H, W) -> int32 (F, H, W)."""
    red, green, blue = rgb.clamp(0, 255).round().to(torch.int32).unbind(1)
    thousandths = 299 * red + 587 * green + 114 * blue + 500
    return torch.div(thousandths, 1000, rounding_mode="floor")


def otsu_threshold(grey: Tensor) -> Tensor:
    """The lowest level that parts each frame best (Otsu, 1979): (F, H, W) -> int32 (F,)."""
    levels = grey.flatten(1).long()  # (F, H * W)
    histogram = torch.zeros(grey.shape[0], 256, dtype=torch.float64, device=grey.device)
    histogram.scatter_add_(1, levels, histogram.new_ones(()).expand(levels.shape))
    level = torch.arange(256, device=grey.device)
    num_below = histogram.cumsum(1)
    sum_below = (histogram * level).cumsum(1)
    num_pixels = levels.shape[1]
    difference = num_pixels * sum_below - num_below * sum_below[:, -1:]
    spread = difference.square() / (num_below * (num_pixels - num_below)).clamp(min=1)
    best = spread.amax(dim=1, keepdim=True)
    return torch.where(spread == best, level, 255).amin(dim=1).to(torch.int32)


def sobel(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives along width and height, borders repeated: each int32 (F, H, W)."""
    x = torch.cat((grey[:, :1], grey, grey[:, -1:]), dim=1)
    x = torch.cat((x[..., :1], x, x[..., -1:]), dim=2)  # (F, H + 2, W + 2)
    along_height = x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]
    along_width = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    return along_height[..., 2:] - along_height[..., :-2], along_width[:, 2:] - along_width[:, :-2]


def _is_peak(across: Tensor, down: Tensor, magnitude: Tensor) -> Tensor:
    """Whether no neighbour along the gradient, in steps of 45 degrees, is stronger.

    Of equal neighbours the first counts, as in OpenCV; there is nothing outside of a frame.
    """
    height, width = magnitude.shape[1:]
    padded = F.pad(magnitude, (1, 1, 1, 1))

    def neighbour(row: int, column: int) -> Tensor:
        return padded[:, 1 + row : 1 + row + height, 1 + column : 1 + column + width]

    x, y = across.abs(), down.abs() << TAN_SHIFT
    is_across = y < x * TAN_22
    is_down = y > x * TAN_22 + (x << (TAN_SHIFT + 1))
    falls = (across < 0) == (down < 0)
    before = torch.where(falls, neighbour(-1, -1), neighbour(-1, 1))
    after = torch.where(falls, neighbour(1, 1), neighbour(1, -1))
    peak_across = (magnitude > neighbour(0, -1)) & (magnitude >= neighbour(0, 1))
    peak_down = (magnitude > neighbour(-1, 0)) & (magnitude >= neighbour(1, 0))
    peak_diagonal = (magnitude > before) & (magnitude > after)
    return torch.where(is_across, peak_across, torch.where(is_down, peak_down, peak_diagonal))


def _followed(strong: Tensor, weak: Tensor, num_steps: int) -> Tensor:
    """Pixels of `weak` that so many steps to one of eight neighbours reach from `strong`.

    Works in place, by few calls: there is little to do in one.
    """
    height, width = weak.shape[1:]
    wide = F.pad(strong, (1, 1, 1, 1))
    edges = wide[:, 1:-1, 1:-1]
    rows = wide.new_empty(wide.shape[0], height + 2, width)
    left, middle, right = (wide[..., i : i + width] for i in range(3))
    above, level, below = (rows[:, i : i + height] for i in range(3))
    for _ in range(num_steps):
        rows.copy_(left).bitwise_or_(middle).bitwise_or_(right)
        edges.copy_(above).bitwise_or_(level).bitwise_or_(below).bitwise_and_(weak)
    return edges
