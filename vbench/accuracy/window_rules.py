"""Rules that take clips of about T*r frames, one frame in r, from places along the video.

What a rule is, and where each was read: `vbench.accuracy.sampling`.
"""

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from vbench.accuracy.linspace import linspace, truncated
from vbench.core.errors import UsageError

if TYPE_CHECKING:
    from vbench.accuracy.sampling import Clips, Sampling

TICKS_A_FRAME: Final = 512  # of the time base that ffmpeg gives MP4 files of 24, 25 and 30 fps
TSM_SPAN: Final = 64


def dense_stride_first(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """VideoMAE and CAST Kinetics: every r-th frame, then windows of T of those."""
    strided = list(range(0, length, s.frame_stride))
    strided += [strided[-1]] * (s.num_frames - len(strided))
    step = max((len(strided) - s.num_frames) / (s.num_clips - 1), 0) if s.num_clips > 1 else 0
    starts = [int(c * step) for c in range(s.num_clips)]
    return [strided[start : start + s.num_frames] for start in starts]


def dense_window_first(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """VideoMamba's copy of the class: windows of T*r raw frames, then every r-th of those."""
    frames = list(range(length))
    span = s.num_frames * s.frame_stride
    frames += [frames[-1]] * (span - len(frames))
    step = max((len(frames) - span) / (s.num_clips - 1), 0) if s.num_clips > 1 else 0
    starts = [int(c * step) for c in range(s.num_clips)]
    return [frames[start : start + span : s.frame_stride] for start in starts]


def dense_linspace(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """UniFormer Kinetics: T points over a span of T*r frames, both ends included, truncated.

    Steps are longer than r: 4.2 frames for 16x4.
    """
    span = s.num_frames * s.frame_stride
    starts = _offset_starts(max(length - span, 0), s.num_clips)
    return [
        [truncated(x, length) for x in linspace(start, start + span - 1, s.num_frames)]
        for start in starts
    ]


def dense_centred(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """EVL and ST-Adapter Kinetics: spans of (T-1)*r + 1 frames, the last frame repeated."""
    span = (s.num_frames - 1) * s.frame_stride + 1
    starts = _rounded_starts(max(length, span) - span, s.num_clips)
    return [
        [min(start + k * s.frame_stride, length - 1) for k in range(s.num_frames)]
        for start in starts
    ]


def dense_loop(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """AIM and Video Swin Kinetics (mmaction2 0.x): centres of S segments, past the end from 0."""
    span = s.num_frames * s.frame_stride
    average = (length - span + 1) / s.num_clips
    if length > span - 1:
        starts = [int(c * average + average / 2.0) for c in range(s.num_clips)]
    else:
        starts = [0] * s.num_clips
    return _looped(starts, s.frame_stride, length, s.num_frames)


def dense_spread_loop(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """mmaction2 1.x: the first to the last span that fits, past the end from 0."""
    free = max(length - (s.num_frames - 1) * s.frame_stride - 1, 0)
    return _looped(_rounded_starts(free, s.num_clips), s.frame_stride, length, s.num_frames)


def dense_64_loop(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """TSM and TSN with ``dense_sample``: T frames over 64, whatever r is, past the end from 0."""
    last = max(length - TSM_SPAN, 0)
    starts = [int(c * (last / max(s.num_clips - 1, 1))) for c in range(s.num_clips - 1)]
    starts.append(last if s.num_clips > 1 else 0)
    return _looped(starts, max(TSM_SPAN // s.num_frames, 1), length, s.num_frames)


def dense_even_loop(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """ViViT (DMVR): the first to the last T*r frames, evenly, truncated; past the end from 0.

    One clip is the middle one.
    """
    free = max(length - s.num_frames * s.frame_stride, 0)
    if s.num_clips == 1:
        starts = [free // 2]
    else:
        starts = [c * free // (s.num_clips - 1) for c in range(s.num_clips)]
    return _looped(starts, s.frame_stride, length, s.num_frames)


def _offset_starts(free: float, num_clips: int) -> list[int]:
    """Multiples of a whole step: PySlowFast with ``USE_OFFSET_SAMPLING``."""
    if num_clips == 1:
        return [math.floor(free / 2)]
    return [c * math.floor(free / (num_clips - 1)) for c in range(num_clips)]


def _rounded_starts(free: int, num_clips: int) -> list[int]:
    if num_clips == 1:
        return [free // 2]
    return [round(free / (num_clips - 1) * c) for c in range(num_clips)]


def _looped(starts: list[int], stride: int, length: int, num_frames: int) -> "Clips":
    return [[(start + k * stride) % length for k in range(num_frames)] for start in starts]


def timed_linspace(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """TimeSformer Kinetics: T points over T*r/30 seconds of the video.

    Only one clip is in the published protocol: the start of the video.
    """
    span = s.num_frames * s.frame_stride * _known(fps, s) / 30
    free = max(length - span, 0)
    points = linspace(0, span - 1, s.num_frames)
    clips = []
    for c in range(s.num_clips):
        start = free * c / s.num_clips
        # The original decodes timestamps from the start to the end and one frame beyond.
        first, last = math.ceil(start), min(int(start + span - 1) + 1, length - 1)
        clips.append([first + truncated(x, last - first + 1) for x in points])
    return clips


def timed_shares(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """PySlowFast Kinetics: T points over T*r/30 seconds, clip c at c/S of what is left."""
    span = _span(s, _known(fps, s))
    free = max(length - span, 0)
    return _timed([free * c / s.num_clips for c in range(s.num_clips)], span, length, s)


def timed_offset(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """MViT Kinetics, PySlowFast with ``USE_OFFSET_SAMPLING``: the first clip to the last."""
    span = _span(s, _known(fps, s))
    starts = _offset_starts(max(length - span, 0), s.num_clips)
    return _timed([float(start) for start in starts], span, length, s)


def _span(s: "Sampling", fps: float) -> float:
    return max(1.0, s.frame_stride * s.num_frames / 30 * fps)


def _timed(starts: list[float], span: float, length: int, s: "Sampling") -> "Clips":
    """T points from each start, in a video decoded whole or, if it is longer than T*r, in part.

    A part holds the frames whose time lies in it, and the points are counted from the first of
    them, so that a start between two frames moves the clip to the later one.
    """
    if length <= s.num_frames * s.frame_stride:
        return [
            [truncated(x, length) for x in linspace(start, start + span - 1, s.num_frames)]
            for start in starts
        ]
    points = linspace(0.0, span - 1, s.num_frames)
    clips = []
    for start in starts:
        first = -(-int(start * TICKS_A_FRAME) // TICKS_A_FRAME)
        last = min(int((start + span - 1) * TICKS_A_FRAME) // TICKS_A_FRAME, length - 1)
        clips.append([first + truncated(x, last - first + 1) for x in points])
    return clips


def resampled_windows(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """Torchvision (``VideoClips``): S of all windows of T frames of the video at 30/r fps.

    A video shorter than a window, which torchvision leaves out, ends in its last frame repeated.
    """
    rate = 30 / s.frame_stride
    step = _known(fps, s) / rate
    if step.is_integer():
        shown = list(range(0, length, int(step)))
    else:
        count = math.floor(length * (rate / _known(fps, s)))
        # In single precision, as the original.
        places = np.floor(np.arange(max(count, 1), dtype=np.float32) * np.float32(step))
        shown = [min(int(place), length - 1) for place in places]
    shown += [shown[-1]] * (s.num_frames - len(shown))
    starts = [int(x) for x in linspace(0, len(shown) - s.num_frames, s.num_clips)]
    return [shown[start : start + s.num_frames] for start in starts]


def _known(fps: float | None, s: "Sampling") -> float:
    """The frame rate.

    Raises:
        UsageError: It is not known.
    """
    if not fps:
        raise UsageError(f"{s.rule} needs the frames a second of the video")
    return fps
