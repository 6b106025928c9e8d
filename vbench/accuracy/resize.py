"""Resizing as the libraries of the published protocols do it, to the bit.

A different interpolation moves an accuracy by tenths of a point, so that of OpenCV, which most
video code uses on 8-bit frames, is written out here: 11-bit weights, sums cut on the way. It equals
``cv2.resize(..., interpolation=cv2.INTER_LINEAR)`` of OpenCV 4 and needs no OpenCV.
"""

import math
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from vbench.accuracy.images import Frame

Backend = Literal["cv2", "torch", "torch_rounded", "torch_truncated", "pil_bilinear", "pil_bicubic"]
Rounding = Literal["truncate", "floor", "floor_integer", "half_up"]

_WEIGHT_ONE: Final = 2048  # INTER_RESIZE_COEF_SCALE


def resized_size(height: int, width: int, short_side: int, rounding: Rounding) -> tuple[int, int]:
    """(height, width) whose shorter side is `short_side`, the longer rounded by the rule.

    Args:
        height: Of the frame.
        width: Of the frame.
        short_side: Wanted.
        rounding: ``truncate``: int(short * long / other), VideoMAE and torchvision; ``floor``:
            floor(long / other * short), PySlowFast; ``floor_integer``: long * short // other, EVL;
            ``half_up``: int(side * scale + 0.5) of both sides, mmcv.

    >>> resized_size(240, 427, 224, "truncate"), resized_size(240, 427, 224, "half_up")
    ((224, 398), (224, 399))
    """
    if min(height, width) == short_side:
        return height, width
    if rounding == "half_up":
        scale = short_side / min(height, width)
        return int(height * scale + 0.5), int(width * scale + 0.5)
    long, other = max(height, width), min(height, width)
    rounded = {
        "truncate": int(short_side * long / other),
        "floor": math.floor(float(long) / other * short_side),
        "floor_integer": long * short_side // other,
    }[rounding]
    return (short_side, rounded) if height <= width else (rounded, short_side)


def resize_cv2(frames: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Bilinear, not antialiased, in fixed point: (N, H, W, C) -> (N, height, width, C)."""
    num_frames, rows, columns, channels = frames.shape
    left, right, weight_left, weight_right = _horizontal(columns, width, channels)
    top, bottom, weight_top, weight_bottom = _vertical(rows, height)
    resized = np.empty((num_frames, height, width * channels), dtype=np.uint8)
    across, other = np.empty((2, rows, width * channels), dtype=np.int32)
    for frame, out in zip(frames.reshape(num_frames, rows, -1), resized, strict=True):
        np.multiply(frame.take(left, axis=1), weight_left, out=across)
        np.multiply(frame.take(right, axis=1), weight_right, out=other)
        across += other
        across >>= 4
        upper, lower = across.take(top, axis=0), across.take(bottom, axis=0)
        upper *= weight_top
        upper >>= 16
        lower *= weight_bottom
        lower >>= 16
        upper += lower
        upper += 2
        upper >>= 2
        out[...] = upper  # weights sum to one, so that nothing exceeds 255
    return resized.reshape(num_frames, height, width, channels)


_Weights = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.int32], NDArray[np.int32]]


def _places(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    scale = 1.0 / (target / source)
    positions = ((np.arange(target) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(positions).astype(np.int64)
    return first, positions - first.astype(np.float32)


def _fixed(weights: NDArray[np.float32]) -> NDArray[np.int32]:
    fixed: NDArray[np.int32] = np.rint(weights * np.float32(_WEIGHT_ONE)).astype(np.int32)
    return fixed


def _horizontal(source: int, target: int, channels: int) -> _Weights:
    """Places and weights along a row of values; beyond the border the column there alone."""
    first, fraction = _places(source, target)
    outside = (first < 0) | (first >= source - 1)
    fraction = np.where(outside, np.float32(0), fraction)
    first = first.clip(0, source - 1)
    second = (first + 1).clip(0, source - 1)
    each = np.arange(channels)
    left, right = ((column[:, None] * channels + each).ravel() for column in (first, second))
    heavier, lighter = _fixed(np.float32(1) - fraction), _fixed(fraction)
    return left, right, heavier.repeat(channels), lighter.repeat(channels)


def _vertical(source: int, target: int) -> _Weights:
    """Rows and weights; beyond the border the row there twice."""
    first, fraction = _places(source, target)
    top, bottom = first.clip(0, source - 1), (first + 1).clip(0, source - 1)
    return top, bottom, _fixed(np.float32(1) - fraction)[:, None], _fixed(fraction)[:, None]


def resize_pil(frame: Frame, height: int, width: int, backend: Backend) -> Frame:
    """Pillow's, antialiased, as torchvision resizes images: (H, W, 3) -> (h, w, 3)."""
    from PIL import Image

    kinds = {"pil_bilinear": Image.Resampling.BILINEAR, "pil_bicubic": Image.Resampling.BICUBIC}
    resized = Image.fromarray(np.ascontiguousarray(frame)).resize((width, height), kinds[backend])
    return np.asarray(resized)


def resize_torch(frames: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """PyTorch's bilinear, align_corners=False: (N, H, W, C) -> (N, height, width, C)."""
    import torch
    import torch.nn.functional as F

    planes = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2)))
    resized = F.interpolate(planes, size=(height, width), mode="bilinear", align_corners=False)
    return resized.numpy().transpose(0, 2, 3, 1)
