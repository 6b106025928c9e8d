"""Frames of a video by index, exactly, from video files and from folders of images.

A file is read once without decoding, which gives the timestamp and the keyframes of every frame;
then only the groups of pictures that hold a wanted frame are decoded, from their keyframe on. A
frame is recognised by its timestamp, so variable frame rates change nothing. Where timestamps are
missing or seeking does not lead where it should, the file is decoded from its start instead.

RGB is made with the matrix and range that the file names (BT.601, limited, where it names none), as
decord and PyAV do. Every way a file can be broken is a `DecodeError` with a reason.
"""

import bisect
import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from vbench.accuracy import damage
from vbench.accuracy.container import (
    Index,
    ffmpeg_errors,
    frames_of,
    open_video,
    read_index,
    reformatter,
)
from vbench.accuracy.images import (
    IMAGE_ENDINGS,
    Apply,
    DecodeError,
    ImageFolder,
    MiscountedError,
    as_is,
    image_files,
    refuse_nothing,
)

if TYPE_CHECKING:
    from av.video.frame import VideoFrame

VIDEO_ENDINGS: Final = frozenset(
    {".mp4", ".webm", ".avi", ".mkv", ".mov", ".m4v", ".mpg", ".mpeg", ".flv", ".wmv", ".ts"}
)
LEAST_SHARE_DECODED: Final = 0.5  # some codecs have frames that are never shown
MOST_COUNTED: Final = 2000  # frames of such a file that are counted by decoding them
MOST_KEPT_BYTES: Final = 1 << 28  # decoded frames that are kept from counting to reading


class Source(Protocol):
    """A video that is open."""

    @property
    def num_frames(self) -> int:
        """Decodable frames, of the segment if one was asked for."""

    @property
    def fps(self) -> float | None:
        """Average frames a second; None for images."""

    @property
    def damage(self) -> str | None:
        """Signs, among what was read until now, that it is not whole."""

    def read(self, indices: Sequence[int], apply: Apply = as_is) -> dict[int, NDArray[Any]]:
        """What `apply` makes of the frames of these indices, each decoded once.

        Raises:
            DecodeError: A frame cannot be decoded.
        """


@contextlib.contextmanager
def opened(
    path: Path,
    *,
    start_s: float | None = None,
    stop_s: float | None = None,
    start_frame: int | None = None,
    stop_frame: int | None = None,
) -> Iterator[Source]:
    """Open a video file, an image, or a folder of numbered images.

    Args:
        path: What to open.
        start_s: Start of a segment; frame 0 is the one on show then.
        stop_s: End of the segment, not included.
        start_frame: First of a folder's images, by the number in its name.
        stop_frame: Last of them.

    Raises:
        DecodeError: It is not there, or cannot be read.
        UnavailableError: A video file, and PyAV is not installed.
    """
    if path.is_dir():
        yield ImageFolder(path, image_files(path, start_frame, stop_frame))
        return
    refuse_nothing(path)
    if path.suffix.lower() in IMAGE_ENDINGS:
        yield ImageFolder(path.parent, [path])
        return
    with VideoFile(path, start_s=start_s, stop_s=stop_s) as video:
        yield video


class VideoFile:
    """A video file, open; see the module for how it is read."""

    def __init__(
        self, path: Path, *, start_s: float | None = None, stop_s: float | None = None
    ) -> None:
        self._path = path
        self._apply: Apply = as_is
        self._kept: list[VideoFrame] = []
        self._num_concealed = self._num_undecoded = 0
        self._reformatter = reformatter()  # one for all frames: making it takes longer than using
        self._closing = contextlib.ExitStack()
        self._messages = self._closing.enter_context(damage.heard())
        try:
            self._container, self._stream = open_video(path)
            self._closing.callback(self._container.close)
            self._index = read_index(
                self._container, self._stream, path, start_s=start_s, stop_s=stop_s
            )
            self._size = (self._stream.codec_context.width, self._stream.codec_context.height)
            self._read_first = self._index
            if not self._index.is_part:
                damage.refuse_truncated(
                    path, self._container, self._stream, self._index, self._messages
                )
            if not self._index.timestamps and self._index.num_packets <= MOST_COUNTED:
                self._count_by_decoding()
            self._first, self._count = self._segment(start_s, stop_s)
        except BaseException:
            self._closing.close()
            raise

    def __enter__(self) -> "VideoFile":
        return self

    def __exit__(self, *exception: object) -> None:
        self._closing.close()

    @property
    def num_frames(self) -> int:
        """Decodable frames of the file or of the segment."""
        return self._count

    @property
    def fps(self) -> float | None:
        """Average frame rate that the container gives, or that of the timestamps."""
        rate = self._stream.average_rate
        return float(rate) if rate else None

    @property
    def damage(self) -> str | None:
        """Signs that the file is not whole; of a segment, only those that were met in it."""
        return damage.in_words(
            self._messages,
            self._read_first,
            num_declared=self._stream.frames,
            num_undecoded=self._num_undecoded,
            num_concealed=self._num_concealed,
            is_cut_off=damage.is_cut_off(self._path, self._container.format.name),
        )

    def read(self, indices: Sequence[int], apply: Apply = as_is) -> dict[int, NDArray[Any]]:
        """What `apply` makes of the frames of these indices, each decoded once.

        Raises:
            DecodeError: A frame cannot be decoded, also not from the start of the file.
        """
        self._apply = apply
        wanted = sorted({index + self._first for index in indices})
        found = self._by_timestamp(wanted) if self._index.timestamps else {}
        if len(found) < len(wanted) and self._index.is_part:
            raise DecodeError("corrupt", f"a frame of the segment of {self._path.name} is missing")
        if len(found) < len(wanted):
            found = self._by_counting(wanted)
        return {index - self._first: frame for index, frame in found.items()}

    def _segment(self, start_s: float | None, stop_s: float | None) -> tuple[int, int]:
        """The frame on show at the start, and the number of frames from it to before the stop."""
        times = self._index.timestamps
        if start_s is None and stop_s is None:
            return 0, self._index.num_packets
        if not times or self._stream.time_base is None:
            raise DecodeError("no timestamps", f"{self._path.name} cannot be cut by time")
        second = 1 / float(self._stream.time_base)
        origin = times[0] if self._stream.start_time is None else self._stream.start_time
        start = origin + (start_s or 0) * second
        stop = math.inf if stop_s is None else origin + stop_s * second
        a_frame = (times[-1] - times[0]) / max(len(times) - 1, 1)
        if start > times[-1] + 2 * a_frame:
            raise DecodeError("no frames", f"{self._path.name} ends before {start_s} s")
        first = max(bisect.bisect_right(times, start) - 1, 0)
        return first, max(bisect.bisect_left(times, stop) - first, 1)

    def _count_by_decoding(self) -> None:
        """Count the frames, and keep them if they are small.

        Raises:
            DecodeError: Less than half of what is there decodes.
        """
        width, height = self._size
        keep = self._index.num_packets * width * height * 3 // 2 <= MOST_KEPT_BYTES
        count = 0
        for frame in self._from_start():
            count += 1
            self._kept += [frame] if keep else []
        if count < damage.LEAST_SHARE_FOUND * self._index.num_packets:
            self._num_undecoded = self._index.num_packets - count
        if count < LEAST_SHARE_DECODED * self._index.num_packets:
            total = self._index.num_packets
            raise DecodeError("corrupt", f"{count} of {total} frames of {self._path.name} decode")
        self._index = Index(timestamps=[], keyframes=[], num_packets=count)

    def _from_start(self) -> "Iterator[VideoFrame]":
        """Every frame that decodes, in order."""
        container, stream = open_video(self._path)
        with container, ffmpeg_errors(self._path):
            for packet in container.demux(stream):
                yield from frames_of(packet)

    def _by_timestamp(self, wanted: list[int]) -> dict[int, NDArray[Any]]:
        """Decode the groups of pictures that hold the wanted frames; fewer if that fails."""
        times = self._index.timestamps
        places = {times[index]: index for index in wanted}
        found: dict[int, NDArray[Any]] = {}
        for keyframe, members in self._runs(wanted).items():
            runs = {times[index] for index in members}
            for frame in self._decoded(runs, seek_to=keyframe):
                if frame.pts in runs:
                    found[places[frame.pts]] = self._to_rgb(frame)
                    runs.discard(frame.pts)
                if not runs:
                    break
            if runs:
                return {}
        return found

    def _runs(self, wanted: list[int]) -> dict[int, list[int]]:
        """Keyframe to seek to -> wanted frames decoded from there on.

        Neighbouring groups of pictures are decoded in one go: a seek costs about a frame.
        """
        times, keyframes = self._index.timestamps, self._index.keyframes
        runs: dict[int, list[int]] = {}
        start, previous = keyframes[0], -2
        for index in wanted:
            place = bisect.bisect_right(keyframes, times[index]) - 1
            if place > previous + 1:
                start = keyframes[max(place, 0)]
            runs.setdefault(start, []).append(index)
            previous = place
        return runs

    def _decoded(self, wanted: set[int], *, seek_to: int) -> "Iterator[VideoFrame]":
        """Frames from a keyframe on; those neither wanted nor needed for others may be left out."""
        context = self._stream.codec_context
        last = max(wanted)
        past = 0
        with ffmpeg_errors(self._path):
            self._container.seek(seek_to, stream=self._stream, backward=True, any_frame=False)
            context.flush_buffers()
            for packet in self._container.demux(self._stream):
                context.skip_frame = "DEFAULT" if packet.pts in wanted else "NONREF"
                for frame in frames_of(packet):
                    past += frame.pts is not None and frame.pts > last
                    yield frame
                if past:
                    return

    def _by_counting(self, wanted: list[int]) -> dict[int, NDArray[Any]]:
        """Decode from the start of the file and count.

        Raises:
            MiscountedError: Fewer frames decode than were counted, by a few.
            DecodeError: Fewer, by many.
        """
        pending = set(wanted)
        found: dict[int, NDArray[Any]] = {}
        decoded = 0
        for frame in self._kept or self._from_start():
            if decoded in pending:
                found[decoded] = self._to_rgb(frame)
                pending.discard(decoded)
            decoded += 1
            if not pending:
                return found
        total = self._index.num_packets
        self._num_undecoded = total - decoded
        kind = MiscountedError if decoded >= damage.LEAST_SHARE_FOUND * total else DecodeError
        self._index = Index(timestamps=[], keyframes=[], num_packets=decoded)
        self._count = max(decoded - self._first, 0)
        raise kind("corrupt", f"{self._path.name} gives {decoded} of {total} frames")

    def _to_rgb(self, frame: "VideoFrame") -> NDArray[Any]:
        self._num_concealed += bool(frame.is_corrupt)
        width, height = self._size  # some files change size midway
        with ffmpeg_errors(self._path):
            converted = self._reformatter.reformat(
                frame, width=width, height=height, format="rgb24"
            )
            pixels = converted.to_ndarray().astype(np.uint8, copy=False)
        turns = round(frame.rotation / 90) % 4
        return self._apply(np.ascontiguousarray(np.rot90(pixels, turns)))
