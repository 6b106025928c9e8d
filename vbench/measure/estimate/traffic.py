"""Bytes that a kernel must read and write at least once: its inputs and its outputs.

A fused kernel moves only these; caches that are missed and inputs read again are left out.
"""

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor
from torch._ops import OpOverload

_OVERWRITING: Final = frozenset(
    (
        "copy_",
        "fill_",
        "zero_",
        "normal_",
        "uniform_",
        "bernoulli_",
        "exponential_",
        "random_",
        "set_",
        "resize_",
    )
)
_UNINITIALISED: Final = frozenset(
    ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")
)
_GATHERING: Final = frozenset(("embedding", "gather", "index", "index_select", "take"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Access:
    """How an operator touches its arguments.

    Attributes:
        written: Names of the arguments that it changes.
        overwritten: Those of them that it does not read.
        is_gathering: Whether it reads only so much of its first argument as it puts out.
        is_uninitialised: Whether its output is memory as found.
    """

    names: tuple[str, ...]
    written: frozenset[str]
    overwritten: frozenset[str]
    is_gathering: bool
    is_uninitialised: bool


@functools.cache
def access_of(operator: OpOverload) -> Access:
    """Read the access off the operator's schema."""
    arguments = operator._schema.arguments
    base = operator._schema.name.partition("::")[2]
    written = frozenset(
        argument.name
        for argument in arguments
        if argument.alias_info is not None and argument.alias_info.is_write
    )
    results = frozenset(argument.name for argument in arguments if argument.is_out)
    return Access(
        names=tuple(argument.name for argument in arguments),
        written=written,
        overwritten=written if base in _OVERWRITING else results,
        is_gathering=base in _GATHERING,
        is_uninitialised=base in _UNINITIALISED,
    )


def moved_bytes(
    operator: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], new_outputs: list[Tensor]
) -> int:
    """Bytes read and written by one call; 0 for a view.

    Args:
        new_outputs: What the call has put into memory of its own.
    """
    access = access_of(operator)
    if operator.is_view or access.is_uninitialised or not (new_outputs or access.written):
        return 0
    written = sum(spanned_bytes(x) for x in new_outputs)
    read = 0
    for position, (name, value) in enumerate(_named(access, args, kwargs)):
        nbytes = sum(spanned_bytes(x) for x in tensors_in(value))
        is_written = name in access.written
        written += nbytes if is_written else 0
        if access.is_gathering and position == 0:
            read += min(nbytes, written)
        elif name not in access.overwritten:
            read += nbytes
    return read + written


def _named(
    access: Access, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Iterator[tuple[str, Any]]:
    yield from zip(access.names, args, strict=False)
    yield from kwargs.items()


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Tensors on the meta device in an argument, one list deep."""
    if isinstance(value, Tensor):
        if value.device.type == "meta":
            yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from tensors_in(item)


def spanned_bytes(x: Tensor) -> int:
    """Bytes of the distinct elements of `x`: an expanded one is held, and read, once.

    >>> import torch
    >>> spanned_bytes(torch.empty(2, 1, device="meta").expand(2, 1000))
    8
    """
    if x.is_contiguous():
        return x.numel() * x.element_size()
    distinct = math.prod(n for n, stride in zip(x.shape, x.stride(), strict=True) if stride)
    return min(distinct * x.element_size(), x.untyped_storage().nbytes())
