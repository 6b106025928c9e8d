"""Find the state dict inside a loaded checkpoint by what fits the model.

Training code stores weights under many keys and behind many prefixes. None is removed by its name
alone: TimeSformer's own names begin with ``model.``, AIM's with ``backbone.``.
"""

from collections.abc import Iterator, Mapping, Set
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from model_zoo._errors import CheckpointError

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


def unwrap(loaded: object, own: Set[str], source: str) -> tuple[dict[str, Tensor], list[str]]:
    """The tensors of `loaded` as flat names that fit best, and notes on what was unwrapped.

    Args:
        loaded: What the file held.
        own: The model's own names.
        source: For the error.

    Raises:
        CheckpointError: Nothing in it is a state dict.
    """
    candidates = list(_candidates(loaded, ()))
    if not candidates:
        raise CheckpointError(
            f"no state dict in {source}: {_describe(loaded)}",
            hint=f"weights are looked for at the top and under {', '.join(CONTAINERS)}",
        )
    path, state, prefix = max(candidates, key=lambda found: _fit(found, own))
    notes = [f"taken from `{'.'.join(path)}` of the file"] if path else []
    if prefix:
        notes.append(f"prefix `{prefix}` removed from every name")
    return state, notes


Candidate = tuple[tuple[str, ...], dict[str, Tensor], str]


def _candidates(loaded: object, path: tuple[str, ...]) -> Iterator[Candidate]:
    if not isinstance(loaded, Mapping):
        return
    state = _as_state(loaded)
    if state:
        yield from ((path, stripped, prefix) for stripped, prefix in _stripped(state))
    if len(path) < 3:
        for key in CONTAINERS:
            if key in loaded:
                yield from _candidates(loaded[key], (*path, key))


def _as_state(mapping: Mapping[Any, Any]) -> dict[str, Tensor]:
    """`mapping` if it is nothing but named tensors, else an empty one."""
    state = {}
    for name, value in mapping.items():
        tensor = torch.from_numpy(value) if isinstance(value, np.ndarray) else value
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            return {}
        state[name] = tensor
    return state


def _stripped(state: dict[str, Tensor]) -> Iterator[tuple[dict[str, Tensor], str]]:
    """`state`, then with each uniform prefix removed in turn."""
    removed = ""
    yield state, removed
    while prefix := next((p for p in PREFIXES if all(n.startswith(p) for n in state)), ""):
        state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
        removed += prefix
        yield state, removed


def _fit(candidate: Candidate, own: Set[str]) -> tuple[int, bool, int]:
    """Most names in common; then no wrapper's prefix; then as little removed as possible."""
    _, state, prefix = candidate
    wrapped = any(next(iter(state)).startswith(wrapper) for wrapper in WRAPPERS)
    return len(own & state.keys()), not wrapped, -len(prefix)


def _describe(loaded: object) -> str:
    if isinstance(loaded, Mapping):
        keys = ", ".join(str(key) for key in list(loaded)[:10])
        return f"keys are {keys}" if keys else "empty"
    return f"holds a {type(loaded).__name__}"
