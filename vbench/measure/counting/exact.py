"""Count every operator that a step dispatches, by a declared formula; refuse to miss one silently.

Run on the meta device this costs no memory and about what a forward pass costs in Python, at any
size. There, and only there, torch's own formulas cover attention too.
"""

import sys
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch._ops import OpOverload
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vbench.core.errors import VbenchError
from vbench.measure.counting.conventions import vmamba_scan_flops
from vbench.measure.counting.formulas import base_name, formula_of, has_no_macs, is_composite
from vbench.measure.counting.remembering import RememberedResults
from vbench.measure.counting.repeated_calls import RepeatedCalls

_TORCH_NAMESPACES: Final = ("aten", "prim", "prims", "profiler")
_CONVOLUTION: Final = "convolution"


class UncountableError(VbenchError):
    """A model runs an operator whose cost nobody has declared."""


class Site(NamedTuple):
    """Where operations happen.

    Attributes:
        operator: As the model calls it: ``linear``, ``matmul``, ``scaled_dot_product_attention``,
            ``model_zoo::selective_scan``. In training torch shows what these are made of instead:
            ``addmm``, ``bmm``.
        module: Part of the model that runs, one level deep; empty outside of any.
        layer: Type of the innermost module that runs, e.g. ``torch.nn.modules.linear.Linear``.
        phase: ``forward`` or ``backward``.
    """

    operator: str
    module: str
    layer: str
    phase: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OperationCount:
    """Multiply-accumulates of one step.

    Attributes:
        macs_by_site: Nothing is in two entries.
        not_counted: Operators that do work no formula covers, with how often they ran.
        vmamba_scan_flops: Of the selective scans, see `conventions`.
    """

    macs_by_site: Mapping[Site, float]
    not_counted: Mapping[str, int]
    vmamba_scan_flops: int = 0

    @property
    def macs(self) -> float:
        """All of them."""
        return sum(self.macs_by_site.values())

    def by(self, *fields: str) -> dict[tuple[str, ...], float]:
        """Sums by some fields of `Site`, largest first."""
        sums: Counter[tuple[str, ...]] = Counter()
        for site, macs in self.macs_by_site.items():
            sums[tuple(getattr(site, field) for field in fields)] += macs  # type: ignore[assignment]
        return dict(sums.most_common())

    def by_operator(self) -> dict[str, float]:
        """Sums by operator, largest first."""
        return {operator: macs for (operator,), macs in self.by("operator").items()}


def count_operations(model: nn.Module, step: Callable[[], object]) -> OperationCount:
    """Count what `step`, which runs `model`, does. Compiled code is counted as its eager original.

    Raises:
        UncountableError: An operator outside torch has no formula.
    """
    counter = _Counter(model)
    with ExitStack() as stack:
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(counter.follow_modules())
        stack.enter_context(RepeatedCalls(counter.total, counter.add).answered())
        stack.enter_context(counter)
        step()
    return OperationCount(
        macs_by_site={site: flops / 2 for site, flops in counter.flops.items()},
        not_counted=dict(counter.not_counted),
        vmamba_scan_flops=counter.vmamba_scan_flops,
    )


class _NotCounted(NamedTuple):
    operator: str


class _Counter(TorchDispatchMode):
    """Adds up formulas of the operators that pass through it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops: Counter[Site] = Counter()
        self.not_counted: Counter[str] = Counter()
        self.vmamba_scan_flops = 0
        self._composite: str | None = None
        self._modules: list[nn.Module] = []
        self._parts = parts_of(model)
        self._results = RememberedResults()

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        formula = formula_of(func)
        if formula is None and is_composite(func):
            with self._inside(func), self:
                return func.decompose(*args, **kwargs)
        out = self._results.run(func, args, kwargs)
        if formula is not None:
            self.flops[self._site(func)] += formula(*args, **kwargs, out_val=out)
            self.vmamba_scan_flops += vmamba_scan_flops(func, args)
        elif func.namespace not in _TORCH_NAMESPACES:
            _require_free(func, args, kwargs)
        elif not has_no_macs(func) and func.namespace == "aten":
            self.not_counted[base_name(func)] += 1
        return out

    def total(self) -> Counter[Hashable]:
        """All that was counted so far."""
        total: Counter[Hashable] = Counter(self.flops)
        total.update({_NotCounted(name): times for name, times in self.not_counted.items()})
        total["vmamba"] = self.vmamba_scan_flops
        return total

    def add(self, cost: Counter[Hashable]) -> None:
        """Count a difference of two totals once more."""
        for what, count in cost.items():
            if isinstance(what, Site):
                self.flops[what] += count
            elif isinstance(what, _NotCounted):
                self.not_counted[what.operator] += count
            else:
                self.vmamba_scan_flops += count

    @contextmanager
    def _inside(self, func: OpOverload) -> Iterator[None]:
        outer = self._composite
        self._composite = outer or base_name(func)
        try:
            yield
        finally:
            self._composite = outer

    def _site(self, func: OpOverload) -> Site:
        operator = self._composite or base_name(func)
        if torch._C._current_graph_task_id() != -1:
            return Site(_plain(operator), "", "", "backward")
        part = next((self._parts[m] for m in reversed(self._modules) if m in self._parts), "")
        layer = type(self._modules[-1]) if self._modules else None
        name = f"{layer.__module__}.{layer.__qualname__}" if layer else ""
        return Site(_plain(operator), part, name, "forward")

    @contextmanager
    def follow_modules(self) -> Iterator[None]:
        """Know which module runs, by global hooks, so that the model itself stays as it is."""
        enter = register_module_forward_pre_hook(lambda module, _: self._modules.append(module))
        leave = register_module_forward_hook(lambda module, _, __: self._leave(), always_call=True)
        try:
            yield
        finally:
            enter.remove()
            leave.remove()

    def _leave(self) -> None:
        if self._modules:
            self._modules.pop()


def parts_of(model: nn.Module) -> dict[nn.Module, str]:
    """Name of the part that each module belongs to: its ancestor below where the model branches."""
    while len(children := list(model.children())) == 1:
        model = children[0]
    return {module: name.partition(".")[0] for name, module in model.named_modules() if name}


def _require_free(func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Let pass what only allocates or only views."""
    if func.is_view or not any(isinstance(leaf, Tensor) for leaf in tree_leaves((args, kwargs))):
        return
    raise UncountableError(
        f"no formula is declared for operator: {base_name(func)}",
        hint="declare one with torch.utils.flop_counter.register_flop_formula",
    )


def _plain(operator: str) -> str:
    """One name for the convolutions that differ in dimensions only."""
    if operator.startswith(("conv", "_conv")) and not operator.endswith("_backward"):
        return _CONVOLUTION
    return operator
