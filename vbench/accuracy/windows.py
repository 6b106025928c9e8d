"""Windows over a long video: each is sampled by itself, and the video's views are those of all.

A class probability is then the mean over windows, which ranks as their sum does, and a predicted
value the mean of theirs.

Sources: OpenGVLab/VideoMamba@f3427e4 videomamba/video_sm/datasets/lvu.py,
md-mohaiminul/ViS4mer@b381a63 datasets/lvu_dataset.py, chaoyuaw/lvu src/run.py.
"""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta, Struct

from vbench.accuracy.container import duration_s
from vbench.accuracy.images import DecodeError
from vbench.core.errors import UsageError

if TYPE_CHECKING:
    from vbench.accuracy.datasets import Video

Window = tuple[float, float]  # seconds from the video's start: begin, end
Seconds = Annotated[float, Meta(gt=0)]


class Windows(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How windows lie.

    Attributes:
        length_s: Of each; a video that is shorter is one window.
        stride_s: From the beginning of one to that of the next.
        least_s: Shortest last window.
        is_first_alone: Only the first window of a video counts.
    """

    length_s: Seconds
    stride_s: Seconds
    least_s: Seconds
    is_first_alone: bool = False

    def __str__(self) -> str:
        if self.is_first_alone:
            return f"the first {self.length_s:g} s"
        return f"windows of {self.length_s:g} s every {self.stride_s:g} s"

    def of(self, duration_s: float) -> tuple[Window, ...]:
        """The windows of a video.

        >>> Windows(length_s=60, stride_s=16, least_s=30).of(95)
        ((0, 60), (16, 76), (32, 92), (48, 95), (64, 95))
        """
        if duration_s < self.length_s:
            return ((0, duration_s),)
        found: list[Window] = []
        while duration_s - (start_s := len(found) * self.stride_s) >= self.least_s:
            found.append((start_s, min(start_s + self.length_s, duration_s)))
        return tuple(found[:1] if self.is_first_alone else found)


def cut(video: "Video", rule: Windows, root: Path) -> "Video":
    """The video with its windows; without, if it cannot be read, which its decoding will say.

    Raises:
        UsageError: It is a folder of images, of which nobody knows how long they show.
    """
    lasts_s = video.duration_s
    if lasts_s is None:
        path = root / video.path
        if path.is_dir():
            raise UsageError(f"windows are cut from video files, this is a folder: {path}")
        with contextlib.suppress(DecodeError):
            lasts_s = duration_s(path)
    if lasts_s is None:
        return video
    return msgspec.structs.replace(video, windows=rule.of(lasts_s))


def frames_in(window: Window, length: int, fps: float | None) -> tuple[int, int]:
    """The first and the last frame of a window; both are in it, as VideoMamba counts.

    Args:
        window: In seconds.
        length: Frames of the video.
        fps: Frames a second of it.

    Raises:
        UsageError: `fps` is not known.
    """
    if not fps:
        raise UsageError("windows need the frames a second of the video")
    first = max(0, min(int(window[0] * fps), length - 1))
    return first, max(first, min(int(window[1] * fps), length - 1))


def parts(video: "Video") -> list["Video"]:
    """The video once for each of its windows; itself where it has none."""
    if not video.windows:
        return [video]
    return [msgspec.structs.replace(video, windows=(window,)) for window in video.windows]
