"""Find the state dict inside a loaded checkpoint by what fits the model.

Training code stores weights under many keys and behind many prefixes. None is removed by its name
alone: TimeSformer's own names begin with ``model.``, AIM's with ``backbone.``.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from model_zoo._errors import CheckpointError
from model_zoo.weights import flax

CONTAINERS: Final = (
    "model",
    "module",
    "state_dict",
    "model_state",
    "model_state_dict",
    "net",
    "params",
    "weights",
    "blobs",
    "model_ema",
    "state_dict_ema",
)
WRAPPERS: Final = ("module.", "_orig_mod.")  # of DistributedDataParallel and torch.compile
PREFIXES: Final = (*WRAPPERS, "model.", "backbone.", "encoder.", "net.")
MAX_DEPTH: Final = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class _Candidate:
    """Tensors found under `path`, without the `prefix` that all their names had."""

    path: tuple[str, ...]
    state: dict[str, Tensor]
    prefix: str
    others: tuple[str, ...]


def unwrap(loaded: object, own: Set[str], source: str) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of `loaded` under the flat names that fit best, and notes on what was removed.

    Args:
        loaded: What the file held.
        own: The model's own names.
        source: For the error.

    Raises:
        CheckpointError: Nothing in it is a state dict.
    """
    tree, root = flax.tree_tensors(loaded)
    if tree:
        return tree, [f"Flax parameters taken from `{root}`" if root else "Flax parameters"]
    candidates = list(_candidates(loaded, ()))
    if not candidates:
        raise CheckpointError(
            f"no weights in {source}: {_describe(loaded)}",
            hint=f"they are looked for at the top and under {', '.join(CONTAINERS)}",
        )
    best = max(candidates, key=lambda candidate: _fit(candidate, own))
    notes = []
    if best.path:
        notes.append(f"taken from `{'.'.join(best.path)}` of the file")
    if best.prefix:
        notes.append(f"prefix `{best.prefix}` removed from every name")
    if best.others:
        notes.append(f"left out, being no tensors: {', '.join(best.others)}")
    return best.state, notes


def _candidates(loaded: object, path: tuple[str, ...]) -> Iterator[_Candidate]:
    if not isinstance(loaded, Mapping):
        return
    state = {str(name): _as_tensor(value) for name, value in loaded.items()}
    tensors = {name: value for name, value in state.items() if value is not None}
    others = tuple(name for name, value in state.items() if value is None)
    for stripped, prefix in _stripped(tensors):
        yield _Candidate(path=path, state=stripped, prefix=prefix, others=others)
    if len(path) < MAX_DEPTH:
        for key in CONTAINERS:
            yield from _candidates(loaded.get(key), (*path, key))


def _as_tensor(value: Any) -> Tensor | None:
    if isinstance(value, Tensor):
        return value
    is_numeric = isinstance(value, np.ndarray) and value.dtype.kind in "fiub"
    return torch.tensor(value) if is_numeric else None


def _stripped(state: dict[str, Tensor]) -> Iterator[tuple[dict[str, Tensor], str]]:
    """`state`, then with each uniform prefix removed in turn; nothing if it is empty."""
    removed = ""
    if state:
        yield state, removed
    while prefix := _uniform_prefix(state):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        removed += prefix
        yield state, removed


def _uniform_prefix(state: dict[str, Tensor]) -> str:
    return next((p for p in PREFIXES if state and all(n.startswith(p) for n in state)), "")


def _fit(candidate: _Candidate, own: Set[str]) -> tuple[int, bool, int, int]:
    """Most names in common; then no wrapper's prefix; then most tensors, least removed."""
    state = candidate.state
    is_wrapped = next(iter(state)).startswith(WRAPPERS)
    return len(own & state.keys()), not is_wrapped, len(state), -len(candidate.prefix)


def _describe(loaded: object) -> str:
    if isinstance(loaded, Mapping):
        keys = ", ".join(str(key) for key in list(loaded)[:10])
        return f"its keys are {keys}" if keys else "it is empty"
    return f"it holds a {type(loaded).__name__}"
