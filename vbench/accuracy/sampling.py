"""Which frames of a video are shown to a model: every rule of the published protocols.

A rule takes the number of frames that a video has and gives, for each temporal clip, the indices of
its frames. The rules differ in what they round and when, so each is written out and tested against
indices computed with the original code. Rounding is to the even neighbour (`round`), as NumPy and
Python do it; `int` truncates.

Sources: OpenGVLab/VideoMamba@f3427e4, facebookresearch/TimeSformer@a5ef29a,
Sense-X/UniFormer@588f861, MCG-NJU/VideoMAE, OpenGVLab/efficient-video-recognition, KHU-VLL/CAST,
taoyang1122/adapt-image-models (mmaction2 0.x), open-mmlab/mmaction2 1.x.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from vbench.core.errors import UsageError

Clips = list[list[int]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampling:
    """Parameters of a rule.

    Attributes:
        rule: A name in `RULES`.
        num_frames: T, frames a clip.
        frame_stride: r, distance between sampled frames; rules over the whole video ignore it.
        num_clips: S, temporal clips a video.
    """

    rule: str
    num_frames: int
    frame_stride: int = 1
    num_clips: int = 1

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise UsageError(
                f"unknown sampling rule: {self.rule}", hint=f"known: {', '.join(sorted(RULES))}"
            )
        if min(self.num_frames, self.frame_stride, self.num_clips) < 1:
            raise UsageError(
                "num_frames, frame_stride and num_clips must be at least 1, not: "
                f"{self.num_frames}, {self.frame_stride}, {self.num_clips}"
            )


def frame_indices(length: int, sampling: Sampling, *, fps: float | None = None) -> Clips:
    """Indices of the frames of each clip: S lists of T, all in [0, length).

    Args:
        length: L, decodable frames of the video.
        sampling: The rule and its parameters.
        fps: Frames a second of the video, for rules that work in time.

    Raises:
        UsageError: There is no frame, or the rule needs `fps`.
    """
    if length < 1:
        raise UsageError(f"a video needs at least one frame, this has: {length}")
    return RULES[sampling.rule](length, sampling, fps)


def _segments_offset(length: int, s: Sampling, fps: float | None) -> Clips:
    """VideoMamba Kinetics and UniFormer SSv2: T segments, clip c at (c+1)/(S+1) of each."""
    segment = (length - 1) / s.num_frames
    step = segment / (s.num_clips + 1)
    return [
        [min(round(segment * k) + int(step * (c + 1)), length - 1) for k in range(s.num_frames)]
        for c in range(s.num_clips)
    ]


def _segments_middle(length: int, s: Sampling, fps: float | None) -> Clips:
    """TimeSformer, ST-Adapter, AIM, Video Swin SSv2: between the rounded ends of each segment."""
    segment = (length - 1) / s.num_frames
    clip = [(round(segment * k) + round(segment * (k + 1))) // 2 for k in range(s.num_frames)]
    return [list(clip) for _ in range(s.num_clips)]


def _segments_shifted(length: int, s: Sampling, fps: float | None) -> Clips:
    """VideoMamba SSv2 from frame folders: T segments, clip c at c/S of each."""
    tick = length / s.num_frames
    return [
        [int(c * tick / s.num_clips + tick * k) for k in range(s.num_frames)]
        for c in range(s.num_clips)
    ]


def _segments_interleaved(length: int, s: Sampling, fps: float | None) -> Clips:
    """VideoMAE, CAST, VideoMamba SSv2: starts and middles of T segments, sorted, dealt to clips.

    Raises:
        UsageError: More than two clips, for which the original gives clips of other lengths.
    """
    if s.num_clips > 2:
        raise UsageError(f"segments_interleaved gives at most 2 clips, not: {s.num_clips}")
    tick = length / s.num_frames
    starts = [int(tick * k) for k in range(s.num_frames)]
    middles = [int(tick / 2 + tick * k) for k in range(s.num_frames)]
    both = sorted(middles + starts)
    return [both[c::2] for c in range(s.num_clips)]


def _dense_stride_first(length: int, s: Sampling, fps: float | None) -> Clips:
    """VideoMAE and CAST Kinetics: every r-th frame, then windows of T of those."""
    strided = list(range(0, length, s.frame_stride))
    strided += [strided[-1]] * (s.num_frames - len(strided))
    return _windows(strided, s)


def _dense_window_first(length: int, s: Sampling, fps: float | None) -> Clips:
    """VideoMamba's copy of the class: windows of T*r raw frames, then every r-th of those."""
    frames = list(range(length))
    span = s.num_frames * s.frame_stride
    frames += [frames[-1]] * (span - len(frames))
    step = max((len(frames) - span) / (s.num_clips - 1), 0) if s.num_clips > 1 else 0
    starts = [int(c * step) for c in range(s.num_clips)]
    return [frames[start : start + span : s.frame_stride] for start in starts]


def _windows(frames: list[int], s: Sampling) -> Clips:
    """S windows of T, from the first to the last that fits; the first alone if S is 1."""
    step = max((len(frames) - s.num_frames) / (s.num_clips - 1), 0) if s.num_clips > 1 else 0
    starts = [int(c * step) for c in range(s.num_clips)]
    return [frames[start : start + s.num_frames] for start in starts]


def _dense_linspace(length: int, s: Sampling, fps: float | None) -> Clips:
    """UniFormer Kinetics: T points over a span of T*r frames, both ends included, truncated.

    Steps are longer than r: 4.2 frames for 16x4.
    """
    span = s.num_frames * s.frame_stride
    free = max(length - span, 0)
    if s.num_clips == 1:
        starts = [free // 2]
    else:
        starts = [c * (free // (s.num_clips - 1)) for c in range(s.num_clips)]
    return [
        [_truncated(x, length) for x in _linspace(start, start + span - 1, s.num_frames)]
        for start in starts
    ]


def _dense_centred(length: int, s: Sampling, fps: float | None) -> Clips:
    """EVL and ST-Adapter Kinetics: spans of (T-1)*r + 1 frames, the last frame repeated."""
    span = (s.num_frames - 1) * s.frame_stride + 1
    free = max(length, span) - span
    if s.num_clips == 1:
        starts = [free // 2]
    else:
        starts = [round(free / (s.num_clips - 1) * c) for c in range(s.num_clips)]
    return [
        [min(start + k * s.frame_stride, length - 1) for k in range(s.num_frames)]
        for start in starts
    ]


def _dense_loop(length: int, s: Sampling, fps: float | None) -> Clips:
    """AIM and Video Swin Kinetics (mmaction2 0.x): centres of S segments, past the end from 0."""
    span = s.num_frames * s.frame_stride
    average = (length - span + 1) / s.num_clips
    if length > span - 1:
        starts = [int(c * average + average / 2.0) for c in range(s.num_clips)]
    else:
        starts = [0] * s.num_clips
    return _looped(starts, length, s)


def _dense_spread_loop(length: int, s: Sampling, fps: float | None) -> Clips:
    """mmaction2 1.x and PySlowFast: the first to the last span that fits, past the end from 0."""
    free = max(length - (s.num_frames - 1) * s.frame_stride - 1, 0)
    if s.num_clips == 1:
        starts = [free // 2]
    else:
        starts = [round(free / (s.num_clips - 1) * c) for c in range(s.num_clips)]
    return _looped(starts, length, s)


def _looped(starts: list[int], length: int, s: Sampling) -> Clips:
    return [
        [(start + k * s.frame_stride) % length for k in range(s.num_frames)] for start in starts
    ]


def _timed_linspace(length: int, s: Sampling, fps: float | None) -> Clips:
    """TimeSformer Kinetics: T points over T*r/30 seconds of the video.

    Only one clip is in the published protocol: the start of the video.

    Raises:
        UsageError: `fps` is not known.
    """
    if not fps:
        raise UsageError("timed_linspace needs the frames a second of the video")
    span = s.num_frames * s.frame_stride * fps / 30
    free = max(length - span, 0)
    points = _linspace(0, span - 1, s.num_frames)
    clips = []
    for c in range(s.num_clips):
        start = free * c / s.num_clips
        # The original decodes timestamps from the start to the end and one frame beyond.
        first, last = math.ceil(start), min(int(start + span - 1) + 1, length - 1)
        clips.append([first + _truncated(x, last - first + 1) for x in points])
    return clips


def _uniform_ends(length: int, s: Sampling, fps: float | None) -> Clips:
    """T points from the first frame to the last, truncated; a plain rule for one's own videos."""
    clip = [_truncated(x, length) for x in _linspace(0, length - 1, s.num_frames)]
    return [list(clip) for _ in range(s.num_clips)]


def _linspace(first: float, last: float, count: int) -> list[float]:
    """`count` evenly spaced points with both ends, as ``torch.linspace`` computes them.

    That is in single precision and from each end to the middle; the points are truncated next, so
    that the last bit matters.
    """
    if count == 1:
        return [float(first)]
    start, end = np.float32(first), np.float32(last)
    step = (end - start) / np.float32(count - 1)
    rising = np.arange(count // 2, dtype=np.float32)
    falling = np.arange(count - count // 2, dtype=np.float32)[::-1]
    points: list[float] = [*(start + step * rising).tolist(), *(end - step * falling).tolist()]
    return points


def _truncated(position: float, length: int) -> int:
    return int(min(max(position, 0), length - 1))


Rule = Callable[[int, Sampling, float | None], Clips]

RULES: Final[dict[str, Rule]] = {
    "segments_offset": _segments_offset,
    "segments_middle": _segments_middle,
    "segments_shifted": _segments_shifted,
    "segments_interleaved": _segments_interleaved,
    "dense_stride_first": _dense_stride_first,
    "dense_window_first": _dense_window_first,
    "dense_linspace": _dense_linspace,
    "dense_centred": _dense_centred,
    "dense_loop": _dense_loop,
    "dense_spread_loop": _dense_spread_loop,
    "timed_linspace": _timed_linspace,
    "uniform_ends": _uniform_ends,
}
