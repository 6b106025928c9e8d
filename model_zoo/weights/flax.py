"""Flax checkpoints: trees of arrays, and the msgpack files that they are saved in.

Source of the format: google/flax, flax/serialization.py. An array is extension 1, a NumPy scalar
extension 3, both a msgpack list of shape, data type and bytes. Nothing in a file is run.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import numpy as np
import torch
from torch import Tensor

# Where training states keep parameters, since optax and before it; then a bare tree.
ROOTS: Final = (("params",), ("optimizer", "target"), ())

ARRAY_CODES: Final = (1, 3)
DTYPES: Final = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint64,
        torch.uint32,
        torch.uint16,
        torch.uint8,
        torch.bool,
    )
}


def is_msgpack(head: bytes) -> bool:
    """Whether a file that begins with `head` can hold a tree: a msgpack map with any entry."""
    return 0x81 <= head[0] <= 0x8F or head[0] in (0xDE, 0xDF)


def decode(data: bytes) -> Any:
    """The tree that a file of these bytes holds.

    Raises:
        ValueError: It is no msgpack, or an array is of an unknown kind or in several chunks.
    """
    return msgspec.msgpack.decode(data, ext_hook=_decode_array)


def _decode_array(code: int, data: memoryview) -> Tensor:
    if code not in ARRAY_CODES:
        raise ValueError(f"unknown msgpack extension: {code}")
    shape, dtype, values = msgspec.msgpack.decode(data, type=tuple[list[int], str, bytes])
    if dtype not in DTYPES:
        raise ValueError(f"unknown array type: {dtype}")
    if not values:
        return torch.empty(shape, dtype=DTYPES[dtype])
    return torch.frombuffer(bytearray(values), dtype=DTYPES[dtype]).reshape(shape)


def tree_tensors(loaded: object) -> tuple[dict[str, Tensor], str]:
    """Tensors of a parameter tree by path, ``encoder/Dense_0/kernel``, and where it was found.

    Both are empty if `loaded` is no such tree: Flax calls the weights of its layers ``kernel``.
    """
    for root in ROOTS:
        leaves = dict(_leaves(_below(loaded, root), ()))
        if any(len(path) > 1 and path[-1] == "kernel" for path in leaves):
            tensors = {"/".join(path): _as_tensor(leaf) for path, leaf in leaves.items()}
            return tensors, "/".join(root)
    return {}, ""


def _below(tree: object, root: tuple[str, ...]) -> object:
    for key in root:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def _leaves(tree: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], object]]:
    if isinstance(tree, Mapping):
        for key, branch in tree.items():
            yield from _leaves(branch, (*path, str(key)))
    elif isinstance(tree, Tensor | np.ndarray):
        yield path, tree


def _as_tensor(leaf: object) -> Tensor:
    return leaf if isinstance(leaf, Tensor) else torch.tensor(leaf)
