"""Count a recurrent module a few times, not once a frame: calls alike cost alike.

A cell that is called for every frame of a video does the same operations each time, so that
counting need take no longer for a longer video. On the meta device, and where nothing is recorded
for a backward pass, what a module does depends on the kind of its inputs and on its own state. That
its state makes no difference is taken as shown once two calls in a row were counted alike.
"""

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn

from vbench.measure.counting.remembering import (
    Recipe,
    UnknownInputError,
    described,
    made,
    recipe_of,
)

_ALIKE: Final = 2  # calls counted in a row, before others are taken to be like them


@dataclass(slots=True)
class _Calls:
    """Of one module with inputs of one kind: what the last one cost and gave."""

    cost: object = None
    result: Recipe | None = None
    num_alike: int = 0

    def note(self, cost: object, result: Recipe | None) -> None:
        is_alike = result is not None and (cost, result) == (self.cost, self.result)
        self.num_alike = self.num_alike + 1 if is_alike else 1
        self.cost, self.result = cost, result


class RepeatedCalls:
    """Answers calls of modules that were counted often enough.

    Args:
        total: What has been counted so far; costs are differences of two such totals.
        add: Counts a cost once more.
    """

    def __init__(self, total: Callable[[], Any], add: Callable[[Any], None]) -> None:
        self._total = total
        self._add = add
        self._calls: dict[Hashable, _Calls] = {}

    @contextmanager
    def answered(self) -> Iterator[None]:
        """Stand between every module and its callers until the context ends."""
        original = nn.Module.__call__

        def call(module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return self._call(original, module, args, kwargs)

        nn.Module.__call__ = call  # type: ignore[method-assign]
        try:
            yield
        finally:
            nn.Module.__call__ = original  # type: ignore[method-assign]

    def _call(
        self, original: Callable[..., Any], module: nn.Module, args: Any, kwargs: dict[str, Any]
    ) -> Any:
        if torch.is_grad_enabled():
            return original(module, *args, **kwargs)
        try:
            key = (module, described(args), described(tuple(kwargs.items())))
        except UnknownInputError:
            return original(module, *args, **kwargs)
        if (calls := self._calls.get(key)) is None:
            # most modules are called once: what they cost need not be known
            self._calls[key] = _Calls()
            return original(module, *args, **kwargs)
        if calls.num_alike >= _ALIKE and calls.result is not None:
            self._add(calls.cost)
            with torch._C._DisableTorchDispatch():  # nothing there is to be counted
                return made(calls.result)
        before = self._total()
        out = original(module, *args, **kwargs)
        calls.note(self._total() - before, recipe_of(out, (args, kwargs)))
        return out
