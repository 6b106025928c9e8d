"""Which frames of a video are shown to a model: every rule of the published protocols.

A rule takes the number of frames that a video has and gives, for each temporal clip, the indices of
its frames. The rules differ in what they round and when, so each is written out and tested against
indices computed with the original code. Rounding is to the even neighbour (`round`), as NumPy and
Python do it; `int` truncates.

Sources: OpenGVLab/VideoMamba@f3427e4, facebookresearch/TimeSformer@a5ef29a,
facebookresearch/SlowFast@287ec00, Sense-X/UniFormer@588f861, MCG-NJU/VideoMAE@14ef8d8,
OpenGVLab/efficient-video-recognition@b282e8b, KHU-VLL/CAST@51eb871,
taoyang1122/adapt-image-models@b3580d2 (mmaction2 0.x), open-mmlab/mmaction2@4d6c934 (1.x),
mit-han-lab/temporal-shift-module@1f6a834, google-deepmind/dmvr@77cceda, pytorch/vision
(``VideoClips``, ``UniformClipSampler``).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from vbench.accuracy import segment_rules, window_rules
from vbench.accuracy.windows import Window, frames_in
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
        resample_fps: Frame rate that the video is converted to first; None leaves it as it is.
    """

    rule: str
    num_frames: int
    frame_stride: int = 1
    num_clips: int = 1
    resample_fps: float | None = None

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


def frame_indices(
    length: int, sampling: Sampling, *, fps: float | None = None, window: Window | None = None
) -> Clips:
    """Indices of the frames of each clip: S lists of T, all in [0, length).

    Args:
        length: L, decodable frames of the video.
        sampling: The rule and its parameters.
        fps: Frames a second of the video, for rules that work in time.
        window: Seconds of the video that the rule is to see; None for the whole of it.

    Raises:
        UsageError: There is no frame, or the rule or the window needs `fps`.
    """
    if length < 1:
        raise UsageError(f"a video needs at least one frame, this has: {length}")
    if not sampling.resample_fps or not fps:
        return _ruled(length, sampling, fps, window)
    shown = resampled(length, fps, sampling.resample_fps)
    clips = _ruled(len(shown), sampling, sampling.resample_fps, window)
    return [[shown[index] for index in clip] for clip in clips]


def _ruled(length: int, sampling: Sampling, fps: float | None, window: Window | None) -> Clips:
    rule = RULES[sampling.rule]
    if window is None:
        return rule(length, sampling, fps)
    first, last = frames_in(window, length, fps)
    clips = rule(last - first + 1, sampling, fps)
    return [[first + index for index in clip] for clip in clips]


def resampled(length: int, fps: float, rate: float) -> list[int]:
    """The frame on show in each frame of a video converted to `rate`, as ffmpeg's ``fps`` does.

    A frame begins in the converted video at the nearest place, halves up, and is on show until the
    next one begins; of two that begin together the later is shown.

    >>> resampled(6, 30, 25)
    [0, 1, 2, 4, 5]
    >>> resampled(3, 12.5, 25)
    [0, 0, 1, 1, 2, 2]
    """
    begins = [int(index * rate / fps + 0.5) for index in range(length + 1)]
    shown: list[int] = []
    for index in range(length):
        shown += [index] * (begins[index + 1] - begins[index])
    return shown or [length - 1]


Rule = Callable[[int, Sampling, float | None], Clips]

RULES: Final[dict[str, Rule]] = {
    "segments_offset": segment_rules.segments_offset,
    "segments_middle": segment_rules.segments_middle,
    "segments_shifted": segment_rules.segments_shifted,
    "segments_interleaved": segment_rules.segments_interleaved,
    "segments_twice": segment_rules.segments_twice,
    "uniform_ends": segment_rules.uniform_ends,
    "dense_stride_first": window_rules.dense_stride_first,
    "dense_window_first": window_rules.dense_window_first,
    "dense_linspace": window_rules.dense_linspace,
    "dense_centred": window_rules.dense_centred,
    "dense_loop": window_rules.dense_loop,
    "dense_spread_loop": window_rules.dense_spread_loop,
    "dense_64_loop": window_rules.dense_64_loop,
    "dense_even_loop": window_rules.dense_even_loop,
    "timed_linspace": window_rules.timed_linspace,
    "timed_shares": window_rules.timed_shares,
    "timed_offset": window_rules.timed_offset,
    "resampled_windows": window_rules.resampled_windows,
}
