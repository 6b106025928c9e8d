"""Video files as FFmpeg sees them: opening, and what is known of the frames before decoding."""

import contextlib
import importlib.util
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vbench.accuracy.images import DecodeError
from vbench.core.errors import UnavailableError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.reformatter import VideoReformatter
    from av.video.stream import VideoStream

# Containers whose timestamps and seeking can be trusted: AVI has none of its own for H.264, and in
# MPEG program streams a seek lands somewhere near. Other files are decoded from their start.
WITH_TIMESTAMPS: Final = ("mp4", "matroska")
WITH_HIDDEN_FRAMES: Final = frozenset({"vp8"})  # packets that are decoded but never shown
# FFmpeg also reads pictures, play lists and scripts that name other files, whatever a file's ending
# is: a downloaded error page must not become a video.
FORMATS: Final = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,mxf,rm,dv,ivf,h264,hevc,m4v"
)  # fmt: skip
OPTIONS: Final = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}
MICROSECONDS: Final = 1_000_000  # of a second: the unit of a container's duration
MOST_PIXELS: Final = 1 << 26  # of a frame; damaged headers claim more than any memory holds


@dataclass(frozen=True, kw_only=True, slots=True)
class Index:
    """What is known of a file's frames before decoding.

    Attributes:
        timestamps: Of each frame, rising, in units of `time_base`; empty if they cannot be trusted.
        keyframes: Timestamps of frames that decoding can start from.
        num_packets: Frames that are shown.
        num_discarded: Frames that an edit list hides: those before the cut of a trimmed file.
        num_empty: Frames without a byte, which show the last one again.
        num_corrupt: Frames that the container itself knows to be damaged.
        shown_s: From the first frame to the end of the last, if timestamps say.
        is_part: Only what a segment needs was read.
    """

    timestamps: list[int]
    keyframes: list[int]
    num_packets: int
    num_discarded: int = 0
    num_empty: int = 0
    num_corrupt: int = 0
    shown_s: float | None = None
    is_part: bool = False

    @property
    def num_found(self) -> int:
        """Frames of the file, shown or not."""
        return self.num_packets + self.num_discarded + self.num_empty


def reformatter() -> "VideoReformatter":
    """What turns decoded frames into RGB."""
    require_av()
    from av.video.reformatter import VideoReformatter

    return VideoReformatter()


def frames_of(packet: "av.Packet[VideoStream]") -> "list[VideoFrame]":
    """The frames that a packet completes; a damaged packet completes none.

    What is missing for it is noticed when a wanted frame does not come.
    """
    import av

    try:
        return packet.decode()
    except av.error.InvalidDataError:
        return []


def require_av() -> None:
    """Say early that video files cannot be decoded.

    Raises:
        UnavailableError: PyAV is not installed.
    """
    if importlib.util.find_spec("av") is None:
        raise UnavailableError(
            "decoding video files needs PyAV", hint="pip install 'vbench[video]'"
        )


def open_video(path: Path) -> "tuple[InputContainer, VideoStream]":
    """Open a container and choose its first stream that is a video and no cover picture.

    Raises:
        DecodeError: There is none.
        UnavailableError: PyAV is not installed.
    """
    require_av()
    import av
    from av.stream import Disposition

    with ffmpeg_errors(path):
        container = av.open(str(path), metadata_errors="ignore", options=OPTIONS)
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        container.close()
        raise DecodeError("no video", f"{path.name} has no video stream")
    stream = streams[0]
    context: object = stream.codec_context
    if context is None:  # PyAV's types leave this out
        container.close()
        raise DecodeError("unreadable", f"{path.name} is coded in a way that nothing here decodes")
    width, height = stream.codec_context.width, stream.codec_context.height
    if width * height > MOST_PIXELS:
        container.close()
        raise DecodeError("unreadable", f"{path.name} claims {width} x {height} pixels")
    stream.thread_type = "NONE"  # workers decode side by side; a second thread gains nothing
    return container, stream


def read_index(
    container: "InputContainer",
    stream: "VideoStream",
    path: Path,
    *,
    start_s: float | None = None,
    stop_s: float | None = None,
) -> Index:
    """Read a file through without decoding; of a segment, where seeking is safe, only that part.

    A kitchen is filmed for an hour, and a segment of it lasts two seconds.

    Raises:
        DecodeError: It holds no frame.
    """
    timestamps: list[int] = []
    keyframes: list[int] = []
    num_packets = num_unknown = num_discarded = num_empty = num_corrupt = 0
    is_trusted = (
        any(name in container.format.name for name in WITH_TIMESTAMPS)
        and stream.codec_context.name not in WITH_HIDDEN_FRAMES
    )
    end = _sought(container, stream, path, start_s, stop_s) if is_trusted else None
    with ffmpeg_errors(path):
        for packet in container.demux(stream):
            num_discarded += packet.is_discard
            num_empty += packet.size == 0 and packet.dts is not None
            if packet.size == 0 or packet.is_discard:
                continue
            if end is not None and packet.dts is not None and packet.dts > end:
                break  # no frame is shown before it is decoded
            num_packets += 1
            num_corrupt += packet.is_corrupt
            if packet.pts is None:
                num_unknown += 1
                continue
            timestamps.append(packet.pts)
            if packet.is_keyframe:
                keyframes.append(packet.pts)
    if not num_packets:
        raise DecodeError("no frames", f"{path.name} has a video stream without a frame there")
    timestamps.sort()
    repeated = any(a == b for a, b in itertools.pairwise(timestamps))
    can_seek = is_trusted and not num_unknown and not repeated and bool(keyframes)
    if end is not None and not can_seek:
        container.seek(0)
        return read_index(container, stream, path)
    return Index(
        timestamps=timestamps if can_seek else [],
        keyframes=sorted(keyframes),
        num_packets=num_packets,
        num_discarded=num_discarded,
        num_empty=num_empty,
        num_corrupt=num_corrupt,
        shown_s=_shown_s(timestamps, stream),
        is_part=end is not None,
    )


def duration_s(path: Path) -> float | None:
    """Seconds that a file lasts by its header, else by its frames; None where neither says.

    Raises:
        DecodeError: It cannot be read.
        UnavailableError: PyAV is not installed.
    """
    container, stream = open_video(path)
    with container:
        if container.duration:
            return container.duration / MICROSECONDS
        return read_index(container, stream, path).shown_s


def _shown_s(timestamps: list[int], stream: "VideoStream") -> float | None:
    if len(timestamps) < 2 or stream.time_base is None:
        return None
    span = float((timestamps[-1] - timestamps[0]) * stream.time_base)
    return span * len(timestamps) / (len(timestamps) - 1)


def _sought(
    container: "InputContainer",
    stream: "VideoStream",
    path: Path,
    start_s: float | None,
    stop_s: float | None,
) -> float | None:
    """Go to the keyframe before a segment; gives the timestamp of its end, None without one."""
    if stop_s is None or stream.time_base is None:
        return None
    second = 1 / float(stream.time_base)
    origin = stream.start_time or 0
    with ffmpeg_errors(path):
        target = origin + int((start_s or 0) * second)
        container.seek(target, stream=stream, backward=True, any_frame=False)
    return origin + stop_s * second


@contextlib.contextmanager
def ffmpeg_errors(path: Path) -> Iterator[None]:
    """Turn what FFmpeg reports into a `DecodeError`."""
    import av

    try:
        yield
    except av.error.FFmpegError as error:
        raise DecodeError("unreadable", f"{path.name} ({error.strerror})") from None
    except (ValueError, OverflowError, MemoryError) as error:
        raise DecodeError("unreadable", f"{path.name} ({error})") from None
