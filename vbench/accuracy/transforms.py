"""Frames -> the views that a model is shown: resized, cropped, normalised, in the model's order.

Where a protocol resizes 8-bit frames, views stay 8-bit until they are on the device, a quarter of
the bytes between processes; where it normalises first, they are single precision from there on.
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from vbench.accuracy.images import Frame
from vbench.accuracy.resize import (
    Backend,
    Rounding,
    resize_cv2,
    resize_pil,
    resize_torch,
    resized_size,
)

if TYPE_CHECKING:
    import torch

CropRule = Literal["steps", "ceil", "margin", "thirds", "quarters", "rounded"]
Triple = Annotated[tuple[float, ...], Meta(min_length=3, max_length=3)]

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)


class Spatial(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to each frame.

    Attributes:
        short_side_px: Of the resized frame.
        crop_px: Side of the square that is cut from it.
        num_crops: 1, or 3 along the longer side, or 10: corners and centre, each also mirrored.
        backend: Whose interpolation; ``torch`` normalises before it resizes, ``torch_rounded`` and
            ``torch_truncated`` make 8-bit values again.
        rounding: Of the longer side.
        resized_px: Height and width of the resized frame whatever its shape was; empty keeps the
            shape.
        crop_rule: Where crops begin, see `crop_offsets`.
        mean: Of each channel, of values from 0 to 1.
        std: The same.
        channel_order: Of the model's input.
    """

    short_side_px: int
    crop_px: int
    num_crops: Literal[1, 3, 10] = 1
    backend: Backend = "cv2"
    rounding: Rounding = "truncate"
    resized_px: tuple[int, ...] = ()
    crop_rule: CropRule = "steps"
    mean: Triple = IMAGENET_MEAN
    std: Triple = IMAGENET_STD
    channel_order: Literal["rgb", "bgr"] = "rgb"

    @property
    def needs_torch(self) -> bool:
        """Whether frames are resized with PyTorch."""
        return self.backend.startswith("torch")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of views as they leave `views`."""
        return np.dtype(np.float32 if self.backend == "torch" else np.uint8)


def crop_offsets(height: int, width: int, spatial: Spatial) -> list[tuple[int, int]]:
    """(top, left) of each crop, in the order of the original.

    Rules along the longer side, with m pixels to spare: ``steps`` (VideoMAE): int(k * m/2), one
    crop at round(m/2); ``ceil`` (PySlowFast): 0, ceil(m/2), m; ``margin`` (EVL): 0, m//2, m;
    ``thirds`` (mmaction): 0, 2 * (m//2), m//2, so that the "right" crop may be a pixel short;
    ``quarters`` (TSM): 0, 4 * (m//4), 2 * (m//4), always along the width, one crop at round(m/2);
    ``rounded`` (torchvision): one crop at round(m/2). Ten crops are those of TSM and mmaction by
    any rule: corners and centre by quarters, every second one to be mirrored.
    """
    spare = (height - spatial.crop_px, width - spatial.crop_px)
    if spatial.num_crops == 10 or (spatial.num_crops == 3 and spatial.crop_rule == "quarters"):
        return _by_quarters(spare, spatial.num_crops)
    along_rows = height > width
    centre = [_middle(m, spatial.crop_rule) for m in spare]
    if spatial.num_crops == 1:
        return [(centre[0], centre[1])]
    places = _three(spare[0] if along_rows else spare[1], spatial.crop_rule)
    return [(p, centre[1]) if along_rows else (centre[0], p) for p in places]


def _by_quarters(spare: tuple[int, int], num_crops: int) -> list[tuple[int, int]]:
    down, right = spare[0] // 4, spare[1] // 4
    if num_crops == 3:
        return [(2 * down, 0), (2 * down, 4 * right), (2 * down, 2 * right)]
    corners = [(0, 0), (0, 4 * right), (4 * down, 0), (4 * down, 4 * right)]
    return [place for place in (*corners, (2 * down, 2 * right)) for _ in ("plain", "mirrored")]


def _middle(spare: int, rule: CropRule) -> int:
    if rule == "ceil":
        return math.ceil(spare / 2)
    return round(spare / 2) if rule in ("steps", "rounded", "quarters") else spare // 2


def _three(spare: int, rule: CropRule) -> tuple[int, int, int]:
    if rule == "thirds":
        return 0, 2 * (spare // 2), spare // 2
    if rule == "steps":
        return 0, int(spare / 2), spare
    return 0, _middle(spare, rule), spare


def middle_crop(spatial: Spatial) -> int:
    """Place of the central crop among a clip's crops."""
    if spatial.num_crops == 1:
        return 0
    if spatial.num_crops == 10:
        return 8
    return 2 if spatial.crop_rule in ("thirds", "quarters") else 1


def views(
    resized: Mapping[int, NDArray[Any]], clips: Sequence[Sequence[int]], spatial: Spatial
) -> NDArray[Any]:
    """The views of a video, each clip with each of its crops: (V, T, crop, crop, 3).

    Args:
        resized: Each frame of the clips, from `resize`, by its index.
        clips: Indices of frames, a list a clip.
        spatial: How they were resized, and where to cut.
    """
    order = sorted(resized)
    place = {index: i for i, index in enumerate(order)}
    frames = np.stack([resized[index] for index in order])
    side = spatial.crop_px
    offsets = crop_offsets(frames.shape[1], frames.shape[2], spatial)
    shape = (len(clips) * len(offsets), len(clips[0]), side, side, 3)
    cut = np.empty(shape, dtype=frames.dtype)
    for c, clip in enumerate(clips):
        chosen = [place[index] for index in clip]
        for k, (top, left) in enumerate(offsets):
            crop = frames[:, top : top + side, left : left + side]
            if spatial.num_crops == 10 and k % 2:
                crop = crop[:, :, ::-1]
            np.take(crop, chosen, axis=0, out=cut[c * len(offsets) + k])
    return cut


def resize(frame: Frame, spatial: Spatial) -> NDArray[Any]:
    """Resize by the protocol: (H, W, 3) RGB -> (h, w, 3) in the model's order of channels.

    The result is normalised where that comes first (`Spatial.dtype` says).
    """
    if spatial.channel_order == "bgr":
        frame = frame[..., ::-1]
    height, width = spatial.resized_px or resized_size(
        frame.shape[0], frame.shape[1], spatial.short_side_px, spatial.rounding
    )
    if spatial.backend == "torch":
        resized: NDArray[Any]
        (resized,) = resize_torch(_normalised(frame, spatial)[None], height, width)
        return resized
    if (height, width) == frame.shape[:2]:
        return frame
    return _resized_8_bit(frame, height, width, spatial.backend)


def _resized_8_bit(frame: Frame, height: int, width: int, backend: Backend) -> Frame:
    if backend in ("pil_bilinear", "pil_bicubic"):
        return resize_pil(frame, height, width, backend)
    if backend == "cv2":
        (resized,) = resize_cv2(np.ascontiguousarray(frame)[None], height, width)
    else:
        (values,) = resize_torch(frame.astype(np.float32)[None], height, width)
        resized = (np.rint(values) if backend == "torch_rounded" else values).astype(np.uint8)
    whole: Frame = resized
    return whole


def _normalised(frame: Frame, spatial: Spatial) -> NDArray[np.float32]:
    scaled = frame.astype(np.float32) / np.float32(255)
    scaled -= np.asarray(spatial.mean, dtype=np.float32)
    scaled /= np.asarray(spatial.std, dtype=np.float32)
    return scaled


def to_clips(cut: "torch.Tensor", spatial: Spatial) -> "torch.Tensor":
    """Views as the model takes them, normalised, on their device: (V, 3, T, H, W) float32."""
    import torch

    clips = cut.permute(0, 4, 1, 2, 3)  # (V, 3, T, H, W)
    if clips.dtype != torch.uint8:
        return clips.contiguous()
    clips = clips.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    shape = (1, 3, 1, 1, 1)
    mean = torch.tensor(spatial.mean, dtype=torch.float32, device=cut.device).reshape(shape)
    std = torch.tensor(spatial.std, dtype=torch.float32, device=cut.device).reshape(shape)
    return clips.sub_(mean).div_(std)
