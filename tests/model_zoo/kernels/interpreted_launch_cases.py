"""What a block launches, counted where Triton is interpreted; run by `test_triton_interpreter`.

The zoo's operators run as they would on CUDA. Each Triton kernel is a launch, and each of torch's
operators that computes or copies; views and room for results are none.
"""

from collections import Counter
from typing import Any

import pytest
import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode
from triton.runtime.interpreter import InterpretedFunction

from model_zoo.kernels.add_rms_norm import triton as add_rms_norm
from model_zoo.kernels.causal_conv1d import triton as causal_conv1d
from model_zoo.kernels.pack_directions import Direction
from model_zoo.kernels.pack_directions import triton as pack_directions
from model_zoo.kernels.selective_scan import triton as selective_scan
from model_zoo.kernels.selective_scan.inputs import ScanInputs
from model_zoo.layers.bimamba import Block
from model_zoo.vim import HalvedBlock
from tests.model_zoo.kernels.drawing import normal


def _scan(*operands: Any, checkpoint_steps: int, **options: Any) -> Any:
    return selective_scan.forward(
        ScanInputs(*operands, **options), checkpoint_steps=checkpoint_steps
    )


def _pack(forward: Any, backward: Any, dtype: torch.dtype) -> Any:
    return pack_directions.pack(Direction(*forward), Direction(*backward), dtype)


ON_CUDA: dict[str, Any] = {
    "model_zoo::add_rms_norm": add_rms_norm.forward,
    "model_zoo::causal_conv1d": causal_conv1d.forward,
    "model_zoo::pack_directions": _pack,
    "model_zoo::selective_scan": _scan,
}
NO_LAUNCH = ("aten::empty", "aten::new_empty", "aten::_unsafe_view", "aten::_reshape_alias")


class Launches(TorchDispatchMode):
    """Counts launches by what launches: one of torch's operators, or an operator of the zoo."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.by_operator: Counter[str] = Counter()
        self._inside: str | None = None
        self._is_in_kernel = False
        run = InterpretedFunction.run

        def counted(kernel: Any, *args: Any, **kwargs: Any) -> Any:
            assert self._inside is not None
            self.by_operator[self._inside] += 1
            self._is_in_kernel = True
            try:
                return run(kernel, *args, **kwargs)
            finally:
                self._is_in_kernel = False

        monkeypatch.setattr(InterpretedFunction, "run", counted)

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name
        if name in ON_CUDA:
            self._inside = name
            try:
                with self:
                    return ON_CUDA[name](*args, **kwargs)
            finally:
                self._inside = None
        if not (self._is_in_kernel or func.is_view or name.startswith(NO_LAUNCH)):
            self.by_operator[self._inside or name] += 1
        return func(*args, **kwargs)


def launches_of(block: Block, monkeypatch: pytest.MonkeyPatch, *, autocast: bool) -> Counter[str]:
    """Of one block in inference that is not the first."""
    dtype = torch.bfloat16
    block = block.eval() if autocast else block.eval().to(dtype)
    branch = normal(2, 7, 16, dtype=dtype, seed=1)
    residual = normal(2, 7, 16, dtype=torch.float32, seed=2)
    launches = Launches(monkeypatch)
    with (
        launches,
        torch.no_grad(),  # in inference mode, composite operators are not taken apart
        torch.autocast("cpu", dtype, enabled=autocast),
    ):
        output, total = block(branch, residual)
    assert output.isfinite().all()
    assert output.dtype == dtype
    assert total.dtype == torch.float32
    return launches.by_operator


@pytest.mark.parametrize("block_of", [Block, HalvedBlock])
def test_launches_of_a_block(block_of, monkeypatch):
    launches = launches_of(block_of(16, drop_path_rate=0.1), monkeypatch, autocast=False)
    of_scan = launches.pop("model_zoo::selective_scan")
    assert launches == {
        "model_zoo::add_rms_norm": 1,
        "aten::mm": 2,  # into the mixer and out of it
        "model_zoo::pack_directions": 1,
        "model_zoo::causal_conv1d": 1,
        "aten::bmm": 2,
    }
    assert of_scan <= 3


def test_launches_of_a_block_under_autocast_are_two_casts_more(monkeypatch):
    launches = launches_of(Block(16, drop_path_rate=0.1), monkeypatch, autocast=True)
    assert launches["aten::_to_copy"] == 2
    assert launches.total() - launches["model_zoo::selective_scan"] == 9
