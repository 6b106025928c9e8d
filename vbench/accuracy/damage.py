"""Signs that a video which can be read is not whole.

FFmpeg hides most damage: it repeats what it cannot decode and skips what it cannot find, and only
its messages tell. A video with such signs is scored as every common decoder would show it, and is
counted and named.
"""

import contextlib
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vbench.accuracy.container import Index
from vbench.accuracy.images import DecodeError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.stream import VideoStream

# Declared and found differ in healthy files by a few frames; by this share the file is cut off.
LEAST_SHARE_FOUND: Final = 0.9
LEAST_SHARE_WITH_AUDIO: Final = 0.5  # a container may last as long as its longer sound
LONGEST_MESSAGE: Final = 80
TS_PACKET_BYTES: Final = 188
# Boxes at the top of an MP4 or QuickTime file that hold its frames or their index.
BOXES: Final = frozenset({b"moov", b"mdat", b"moof"})


Messages = Sequence[tuple[int, str, str]]


@contextlib.contextmanager
def heard() -> Iterator[Messages]:
    """What FFmpeg reports as errors on this thread meanwhile: level, part and message."""
    from av import logging

    before = logging.get_level()
    logging.set_level(logging.ERROR)
    try:
        with logging.Capture() as messages:
            yield messages
    finally:
        logging.set_level(before)


def refuse_truncated(
    path: Path,
    container: "InputContainer",
    stream: "VideoStream",
    index: Index,
    messages: Messages,
) -> None:
    """Compare what the header promises with what is there.

    Raises:
        DecodeError: Much is missing.
    """
    declared, found = stream.frames, index.num_found
    if declared:
        if found < LEAST_SHARE_FOUND * declared:
            raise DecodeError("truncated", f"{path.name} holds {found} of {declared} frames")
        return
    is_declared = index.timestamps or container.format.name == "flv"  # others estimate it
    if not is_declared or not index.shown_s or not container.duration:
        return
    found_s, declared_s = index.shown_s, container.duration / 1_000_000
    least = LEAST_SHARE_WITH_AUDIO if container.streams.audio else LEAST_SHARE_FOUND
    if found_s < least * declared_s:
        raise DecodeError("truncated", f"{path.name} holds {found_s:.1f} of {declared_s:.1f} s")
    expected = found_s * float(stream.average_rate or 0)
    if messages and found < LEAST_SHARE_FOUND * expected:
        raise DecodeError("corrupt", f"{path.name} holds {found} of about {expected:.0f} frames")


def in_words(
    messages: Messages,
    index: Index,
    *,
    num_declared: int,
    num_undecoded: int,
    num_concealed: int,
    is_cut_off: bool,
) -> str | None:
    """What the signs are; None if there are none.

    Args:
        messages: From `heard`.
        index: Of the file, as it was read.
        num_declared: Frames by the header; 0 where it does not say.
        num_undecoded: Frames that are there, that should be shown, and that do not decode.
        num_concealed: Frames that were decoded in part and filled up.
        is_cut_off: From `is_cut_off`.
    """
    found = index.num_found
    facts = {
        "the file ends early": is_cut_off,
        f"{found} of {num_declared} frames": found < num_declared and not index.is_part,
        f"{index.num_corrupt} frames damaged in the file": index.num_corrupt,
        f"{num_undecoded} frames do not decode": num_undecoded,
        f"{num_concealed} frames decode in part": num_concealed,
    }
    signs = [words for words, is_so in facts.items() if is_so]
    if messages:
        _, part, text = messages[0]
        first = " ".join(text.split())[:LONGEST_MESSAGE]
        signs.append(f"{len(messages)} errors, the first of {part}: {first}")
    return "; ".join(signs) or None


def is_cut_off(path: Path, container: str) -> bool:
    """Whether the end of the file is not where its container has to end.

    >>> is_cut_off(Path("film.mkv"), "matroska,webm")
    False

    Args:
        path: Of the file.
        container: What FFmpeg calls its format.
    """
    try:
        if container == "mpegts":
            return path.stat().st_size % TS_PACKET_BYTES != 0
        return "mp4" in container and _lacks_part_of_a_box(path)
    except OSError:
        return True


def _lacks_part_of_a_box(path: Path) -> bool:
    length = path.stat().st_size
    place = 0
    with path.open("rb") as file:
        while place + 8 <= length:
            file.seek(place)
            size, kind = struct.unpack(">I4s", file.read(8))
            if size == 1:  # the true size follows in eight bytes
                size = int.from_bytes(file.read(8), "big")
            if size == 0:  # to the end of the file
                return False
            place += max(size, 8)
            if place > length:
                return kind in BOXES
    return False
