"""Read a checkpoint file of any released format, never running code that it may hold.

torch files go through ``torch.load(weights_only=True)``. Two kinds that it cannot read, TorchScript
archives and Caffe2's bare pickles, go through the unpicklers of `pickles`, which know a handful of
inert types; ``torch.jit.load`` is not used, since it would compile and run the archive's code.
Flax's msgpack files go through `flax`.
"""

import argparse
import hashlib
import pickle
import re
import struct
import zipfile
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from model_zoo._errors import CheckpointError
from model_zoo.weights import flax, pickles

# Whatever a truncated or altered file makes zip, pickle and torch raise.
UNREADABLE: Final = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)
# Types that hold values and run nothing, which training code left beside the weights.
INERT: Final = [argparse.Namespace, *pickles.NUMPY_SCALARS]
NOT_A_CHECKPOINT: Final = {
    b"<": "it is a web page: the download was refused or needs a confirmation",
    b"version https://git-lfs": "it is a Git LFS pointer: `git lfs pull` gets the file itself",
    b"\x1f\x8b": "it is compressed: unpack it first",
    b"BZh": "it is compressed: unpack it first",
    b"\x89HDF": "HDF5 is not a layout that any of the zoo's checkpoints was released in",
}


def read(path: Path, *, expected_sha256: str | None = None) -> Any:
    """What the file holds, on the CPU.

    Raises:
        CheckpointError: There is no such file, it is no checkpoint, it would run code on being
            read, or its SHA-256 is another.
    """
    head = _first_bytes(path)
    if expected_sha256 is not None:
        _require_sha256(path, expected_sha256)
    try:
        if path.suffix == ".safetensors" or head[8:10] == b'{"':
            return load_file(path)
        if zipfile.is_zipfile(path) and pickles.is_torchscript(path):
            return pickles.read_torchscript(path)
        if pickles.is_bare_pickle(head):
            return pickles.read_arrays(path)
        if flax.is_msgpack(head):
            return flax.decode(path.read_bytes())
        with torch.serialization.safe_globals(INERT):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, *UNREADABLE) as error:
        raise CheckpointError(
            f"not a readable checkpoint: {path}", hint=_why(head, str(error))
        ) from error


def _first_bytes(path: Path) -> bytes:
    if path.is_dir():
        files = sorted(file.name for file in path.iterdir() if file.is_file())
        raise CheckpointError(
            f"a checkpoint is a file, not a directory: {path}",
            hint=f"give one of its files: {', '.join(files[:5])}" if files else None,
        )
    try:
        with path.open("rb") as file:
            head = file.read(256)
    except OSError as error:
        raise CheckpointError(f"cannot open checkpoint ({error.strerror}): {path}") from error
    if not head:
        raise CheckpointError(f"empty checkpoint file: {path}", hint="download or save it again")
    return head


def _require_sha256(path: Path, expected: str) -> None:
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected.lower():
        raise CheckpointError(
            f"wanted SHA-256 {expected.lower()}, {path} has: {actual}",
            hint="the file is damaged or another one",
        )


def _why(head: bytes, message: str) -> str:
    for magic, hint in NOT_A_CHECKPOINT.items():
        if head.lstrip().startswith(magic):
            return hint
    refused = re.search(r"GLOBAL ([\w.]+)|global: ([\w.]+)", message)
    if refused:
        return (
            f"it holds Python objects ({refused[1] or refused[2]}), which could run code: on a "
            "machine where you trust it, save its tensors alone in a new file"
        )
    return f"it is truncated, damaged or of an unknown format ({message.partition(chr(10))[0]})"
