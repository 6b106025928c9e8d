"""The checkpoints that were released for the zoo's variants, from ``weights/checkpoints.toml``.

Beside the package `model_zoo.weights` and not in it, which imports torch.
"""

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class ReleasedCheckpoint:
    """One released file.

    Attributes:
        file: Its name as released; the link where the source names none, and of a repository of
            huggingface.co its name.
        variant: Model that it fits.
        label_space: Classes of its head.
        num_frames: Of the clips that it was trained on, with `resolution_px` the size of its
            tables.
        licence: Of the weights; ``not stated`` where the source states none.
        source: Where it is published; nothing is downloaded.
        sha256: None where unknown.
        note: What a user must know, or empty.
    """

    file: str
    variant: str
    label_space: str
    num_frames: int
    resolution_px: int
    licence: str
    source: str
    sha256: str | None = None
    note: str = ""


@functools.cache
def checkpoints() -> tuple[ReleasedCheckpoint, ...]:
    """Every released checkpoint that is known."""
    path = Path(__file__).parent / "weights" / "checkpoints.toml"
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["checkpoint"]
    return tuple(ReleasedCheckpoint(**entry) for entry in entries)


def released_checkpoints(variant: str) -> list[ReleasedCheckpoint]:
    """Checkpoints released for a variant."""
    return [released for released in checkpoints() if released.variant == variant]


def hint_from_name(file: str) -> str | None:
    """What a file of that name was released as, or None if it is not known."""
    for released in checkpoints():
        if released.file == file:
            return (
                f"a file of that name was released for {released.variant} "
                f"({released.label_space}, {released.num_frames} frames of "
                f"{released.resolution_px} px) in {released.source}"
            )
    return None


SHIPPED = Path(__file__).parent / "weights" / "nano"


def shipped_checkpoint(name: str) -> Path | None:
    """The trained weights of variant `name` that come with the package; None where there are none.

    Beside each file lies one of the same name in JSON: the command and seed that made it, and its
    accuracy.
    """
    path = SHIPPED / f"{name}.safetensors"
    return path if path.is_file() else None
