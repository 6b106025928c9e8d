"""Unpicklers for the two released formats that ``torch.load(weights_only=True)`` cannot read.

Both replace `find_class`, through which alone a pickle reaches code: it gives a few inert types and
refuses every other name. So a hostile file can fail to load, but not run.
"""

import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

DTYPES: Final = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_RECONSTRUCT: Final[Any] = np.empty(0).__reduce__()[0]  # moved between numpy 1 and 2
_SCALAR: Final[Any] = np.float64().__reduce__()[0]
# What `torch.load` must be told to allow for a numpy number, under its old name and its new one.
NUMPY_SCALARS: Final[list[Any]] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(code)) for code in "?bBhHiIlLefd"),
]
PROTOCOLS_2_TO_5: Final = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
TORCH_LEGACY_MAGIC: Final = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def is_torchscript(path: Path) -> bool:
    """Whether a zip file is an archive of `torch.jit.save`, as OpenAI's CLIP files are."""
    with zipfile.ZipFile(path) as archive:
        return any("/code/" in name for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """The parameters and buffers of a TorchScript archive, without its code."""
    with zipfile.ZipFile(path) as archive:
        named = (name for name in archive.namelist() if name.count("/") == 1)
        data = next((name for name in named if name.endswith("/data.pkl")), None)
        if data is None:
            raise pickle.UnpicklingError("an archive of torch.jit.save without data.pkl")
        with archive.open(data) as file:
            module = _TorchScriptUnpickler(file, archive, data.partition("/")[0]).load()
    return dict(_tensors(module, ""))


class _Attributes:
    """Stands for any object of the archive: keeps its attributes and does nothing."""

    def __setstate__(self, state: object) -> None:
        if isinstance(state, dict):
            self.__dict__.update(state)


class _TorchScriptUnpickler(pickle.Unpickler):
    def __init__(self, file: Any, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(file)
        self.archive = archive
        self.root = root

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Attributes
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if module == "torch.jit._pickle" and name.startswith("build_"):
            return list
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch.jit._pickle", "restore_type_tag"): _untagged,
            ("collections", "OrderedDict"): OrderedDict,
        }
        if (module, name) in known:
            return known[module, name]
        raise pickle.UnpicklingError(f"unknown global: {module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, num_elements = pid
        stored = self.archive.read(f"{self.root}/data/{key}")
        if not num_elements:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(bytearray(stored), dtype=dtype, count=num_elements)


def _tensor(storage: Tensor, offset: int, size: Any, stride: Any, *_: object) -> Tensor:
    return storage.as_strided(size, stride, offset)


def _untagged(value: Any, _type: str) -> Any:
    return value


def _tensors(value: object, name: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, _Attributes):
        for attribute, inner in vars(value).items():
            yield from _tensors(inner, f"{name}.{attribute}" if name else attribute)


def is_bare_pickle(head: bytes) -> bool:
    """Whether a file is a pickle that `torch.save` did not write, as Caffe2's are."""
    return head.startswith(PROTOCOLS_2_TO_5) and not head.startswith(TORCH_LEGACY_MAGIC)


def read_arrays(path: Path) -> Any:
    """A pickle of containers, numbers, strings and numpy arrays."""
    with path.open("rb") as file:
        return _ArrayUnpickler(file, encoding="latin1").load()  # Python 2 wrote them


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known: dict[tuple[str, str], Any] = {
            ("numpy", "ndarray"): np.ndarray,
            ("numpy", "dtype"): np.dtype,
            ("multiarray", "_reconstruct"): _RECONSTRUCT,
            ("multiarray", "scalar"): _SCALAR,
            ("collections", "OrderedDict"): OrderedDict,
            ("_codecs", "encode"): _as_bytes,
        }
        package = module.rpartition(".")[2] if module.startswith("numpy.") else module
        if (package, name) in known:
            return known[package, name]
        raise pickle.UnpicklingError(f"unknown global: {module}.{name}")


def _as_bytes(text: str, encoding: str) -> bytes:
    """`codecs.encode` for the one use that a pickle of bytes makes of it."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"unknown encoding: {encoding}")
    return text.encode("latin1")
