"""Small videos whose frames say which they are: ten black or white blocks, one a binary digit."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

NUM_BITS = 10

# Name -> codec, ending, options.
ENCODINGS = {
    "mp4": ("libx264", "mp4", {}),
    "mp4, open groups": ("libx264", "mp4", {"x264-params": "open-gop=1"}),
    "mp4, one group": ("libx264", "mp4", {}),
    "mp4, fragmented": ("libx264", "mp4", {}),
    "mp4, hevc": ("libx265", "mp4", {}),
    "mkv": ("libx264", "mkv", {}),
    "ts": ("libx264", "ts", {}),
    "avi": ("mpeg4", "avi", {}),
    "avi, h264": ("libx264", "avi", {}),
    "mov, mjpeg": ("mjpeg", "mov", {}),
    "mpg": ("mpeg2video", "mpg", {}),
    "webm, vp9": ("libvpx-vp9", "webm", {}),
    "webm, vp8": ("libvpx", "webm", {}),
    "webm, av1": ("libsvtav1", "webm", {}),
    "flv": ("flv1", "flv", {}),
}


def picture(number, *, width=80, height=48):
    """A frame of `number`: blocks in two rows of five, grey elsewhere."""
    frame = np.full((height, width, 3), 128, dtype=np.uint8)
    for bit in range(NUM_BITS):
        value = 235 if number >> bit & 1 else 16
        left, top = bit % 5 * width // 5, bit // 5 * height // 2
        frame[top : top + height // 2, left : left + width // 5] = value
    return frame


def number_of(frame):
    """The number that a decoded frame shows."""
    height, width = frame.shape[:2]
    number = 0
    for bit in range(NUM_BITS):
        left, top = bit % 5 * width // 5, bit // 5 * height // 2
        block = frame[top + 4 : top + height // 2 - 4, left + 4 : left + width // 5 - 4]
        number |= int(block.mean() > 128) << bit
    return number


def write_video(
    path: Path,
    num_frames=40,
    *,
    codec="libx264",
    rate=25,
    size=(80, 48),
    keyframe_every=12,
    timestamps=None,
    rotation=0,
    with_audio=False,
    options=None,
    pictures=None,
):
    """Write frames numbered from 0; `timestamps` in ticks of 1/1000 s make the rate variable."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.gop_size = keyframe_every
        if codec == "libx264":
            stream.options = {"crf": "18", "preset": "veryfast", "bf": "3"} | (options or {})
        if timestamps is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        sound = container.add_stream("aac", rate=16000, layout="mono") if with_audio else None
        for index in range(num_frames):
            shown = pictures[index] if pictures else picture(index, width=size[0], height=size[1])
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
            frame.pts = index if timestamps is None else timestamps[index]
            if timestamps is not None:
                frame.time_base = Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            container.mux(_tone(sound, num_frames / rate))
    return path


def trim(source: Path, path: Path, *, first: int):
    """Copy a film without coding it anew, its first frames hidden by an edit list."""
    with av.open(str(source)) as read, av.open(str(path), "w") as written:
        old = read.streams.video[0]
        new = written.add_stream_from_template(old)
        assert old.average_rate
        assert old.time_base
        shift = round(first / old.average_rate / old.time_base)
        for packet in read.demux(old):
            if packet.pts is not None and packet.dts is not None:
                packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
                packet.stream = new
                written.mux(packet)
    return path


def write_sound(path: Path, seconds=1.0):
    """A file with sound and no picture."""
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=16000, layout="mono")
        container.mux(_tone(sound, seconds))
    return path


def _tone(stream, seconds):
    packets = []
    for start in range(0, int(16000 * seconds), 1024):
        wave = np.sin(np.arange(start, start + 1024) / 8).astype(np.float32)[None]
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
        frame.sample_rate, frame.pts = 16000, start
        packets += stream.encode(frame)
    return packets + stream.encode()


def write_frames(folder: Path, num_frames=12, *, size=(80, 48), first=1):
    """A folder of numbered JPEGs."""
    folder.mkdir(parents=True)
    for index in range(num_frames):
        image = Image.fromarray(picture(index, width=size[0], height=size[1]))
        image.save(folder / f"{index + first:05d}.jpg", quality=95)
    return folder
