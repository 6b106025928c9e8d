"""Rules that spread a clip over the whole video: a frame from each of T equal segments.

What a rule is, and where each was read: `vbench.accuracy.sampling`.
"""

from typing import TYPE_CHECKING

from vbench.accuracy.linspace import linspace, truncated
from vbench.core.errors import UsageError

if TYPE_CHECKING:
    from vbench.accuracy.sampling import Clips, Sampling


def segments_offset(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """VideoMamba and UMT Kinetics, UniFormer SSv2: T segments, clip c at (c+1)/(S+1) of each."""
    segment = (length - 1) / s.num_frames
    step = segment / (s.num_clips + 1)
    return [
        [min(round(segment * k) + int(step * (c + 1)), length - 1) for k in range(s.num_frames)]
        for c in range(s.num_clips)
    ]


def segments_middle(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """PySlowFast, TimeSformer, ST-Adapter, AIM SSv2: between the rounded ends of each segment."""
    segment = (length - 1) / s.num_frames
    clip = [(round(segment * k) + round(segment * (k + 1))) // 2 for k in range(s.num_frames)]
    return [list(clip) for _ in range(s.num_clips)]


def segments_shifted(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """VideoMamba SSv2 from frame folders: T segments, clip c at c/S of each."""
    tick = length / s.num_frames
    return [
        [int(c * tick / s.num_clips + tick * k) for k in range(s.num_frames)]
        for c in range(s.num_clips)
    ]


def segments_interleaved(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """VideoMAE, CAST, VideoMamba SSv2: starts and middles of T segments, sorted, dealt to clips.

    Raises:
        UsageError: More than two clips, for which the original gives clips of other lengths.
    """
    middles, starts = _middles_and_starts(length, s)
    both = sorted(middles + starts)
    return [both[c::2] for c in range(s.num_clips)]


def segments_twice(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """TSN and TSM: the middles of T segments; their starts are a second clip (twice_sample).

    Raises:
        UsageError: More than two clips.
    """
    return _middles_and_starts(length, s)[: s.num_clips]


def _middles_and_starts(length: int, s: "Sampling") -> "Clips":
    if s.num_clips > 2:
        raise UsageError(f"{s.rule} gives at most 2 clips, not: {s.num_clips}")
    tick = length / s.num_frames
    starts = [int(tick * k) for k in range(s.num_frames)]
    return [[int(tick / 2 + tick * k) for k in range(s.num_frames)], starts]


def uniform_ends(length: int, s: "Sampling", fps: float | None) -> "Clips":
    """T points from the first frame to the last, truncated; a plain rule for one's own videos."""
    clip = [truncated(x, length) for x in linspace(0, length - 1, s.num_frames)]
    return [list(clip) for _ in range(s.num_clips)]
