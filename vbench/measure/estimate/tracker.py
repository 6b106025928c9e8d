"""Follow every operator of a step on the meta device: memory, traffic, least time."""

from collections import Counter
from typing import Any

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from vbench.measure.counting.formulas import base_name, formula_of, is_composite
from vbench.measure.counting.remembering import RememberedResults
from vbench.measure.estimate.ledger import Ledger
from vbench.measure.estimate.roofline import NoPeakError, Roofline
from vbench.measure.estimate.traffic import moved_bytes, tensors_in


class StepTracker(TorchDispatchMode):
    """Sums over the operators that pass through it.

    Attributes:
        is_idle: Whether only memory is followed.
        num_kernels: Calls that move bytes.
        missing_peak: Why there is no time, if so.
    """

    def __init__(self, ledger: Ledger, roofline: Roofline) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ledger = ledger
        self.is_idle = False
        self.missing_peak: str | None = None
        self._roofline = roofline
        self._results = RememberedResults()
        self.begin()

    def begin(self) -> None:
        """Start the sums, and the peaks, anew, before a step."""
        self.ledger.purpose = "activations"
        self.ledger.begin()
        self._is_after_backward = False
        self.moved_bytes = 0
        self.num_kernels = 0
        self.seconds_by_bound: Counter[str] = Counter()
        self.seconds_by_operator: Counter[str] = Counter()

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if is_composite(func) and formula_of(func) is None:
            with self:
                return func.decompose(*args, **kwargs)
        self._note_phase()
        out = self._results.run(func, args, kwargs)
        new = [tensor for tensor in tensors_in(out) if self.ledger.add(tensor)]
        moved = 0 if self.is_idle else moved_bytes(func, args, kwargs, new)
        if moved:
            self._add(func, args, kwargs, out, moved)
        return out

    def _note_phase(self) -> None:
        """Once backward is over, the optimizer works: what it takes is its own."""
        if torch._C._current_graph_task_id() != -1:
            self._is_after_backward = True
        elif self._is_after_backward:
            self.ledger.purpose = "state"

    def _add(
        self, func: OpOverload, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any, moved: int
    ) -> None:
        formula = formula_of(func)
        flops = formula(*args, **kwargs, out_val=out) if formula else 0
        self.moved_bytes += moved
        self.num_kernels += 1
        try:
            seconds, bound = self._roofline.seconds(
                func, args, options=kwargs, flops=flops, moved_bytes=moved
            )
        except NoPeakError as error:
            self.missing_peak = str(error)
            return
        self.seconds_by_bound[bound] += seconds  # type: ignore[assignment]
        self.seconds_by_operator[base_name(func)] += seconds  # type: ignore[assignment]
