"""Images as frames, and what keeps a file from being read."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from vbench.core.errors import VbenchError

Frame = NDArray[np.uint8]  # (H, W, 3), RGB


Apply = Callable[[Frame], NDArray[Any]]

IMAGE_ENDINGS: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})


class DecodeError(VbenchError):
    """A video cannot be read.

    Attributes:
        reason: ``missing``, ``empty``, ``unreadable``, ``no video``, ``no frames``, ``truncated``
            or ``corrupt``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason = reason


class MiscountedError(DecodeError):
    """A few of the last frames do not decode; the source now gives the number of those that do."""


def as_is(frame: Frame) -> Frame:
    """The frame itself."""
    return frame


def refuse_nothing(path: Path) -> None:
    """Say early that there is no file, or nothing in it.

    Raises:
        DecodeError: So it is.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise DecodeError("missing", f"{path.name} ({error.strerror})") from None
    if size == 0:
        raise DecodeError("empty", f"{path.name} has no byte")


class ImageFolder:
    """Images as frames, in the order of the numbers in their names."""

    fps = None
    damage = None

    def __init__(self, folder: Path, files: list[Path]) -> None:
        self._files = files
        if not self._files:
            raise DecodeError("no frames", f"{folder.name} holds no image")

    @property
    def num_frames(self) -> int:
        """Number of images."""
        return len(self._files)

    def read(self, indices: Sequence[int], apply: Apply = as_is) -> dict[int, NDArray[Any]]:
        """What `apply` makes of these images."""
        return {index: apply(read_image(self._files[index])) for index in sorted(set(indices))}


def image_files(folder: Path, first: int | None = None, last: int | None = None) -> list[Path]:
    """The images of a folder in the order of the numbers in their names, from and to a number."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in IMAGE_ENDINGS]
    numbered = sorted((_number(path.stem), path.name, path) for path in found)
    return [
        path
        for number, _, path in numbered
        if (first is None or number >= first) and (last is None or number <= last)
    ]


def _number(stem: str) -> int:
    digits = "".join(character for character in stem if character.isascii() and character.isdigit())
    return int(digits) if digits else -1


def read_image(path: Path) -> Frame:
    """An image as RGB.

    Raises:
        DecodeError: It cannot be read.
    """
    from PIL import Image

    refuse_nothing(path)
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DecodeError("corrupt", f"{path.name} ({error})") from None
