"""The selective scan against its float64 reference, and as an operator among torch's own."""

import json
import subprocess
import sys
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from model_zoo import UnsupportedInputError
from model_zoo.kernels import selective_scan as package
from model_zoo.kernels.selective_scan import cpu, reference, selective_scan
from model_zoo.kernels.selective_scan.inputs import ScanInputs
from tests.model_zoo.kernels.drawing import (
    REVERSE,
    normal,
    relative_error,
    scan_operands,
    widened,
)
from tests.model_zoo.reference import ZOO

TOLERANCES = {
    torch.float64: 1e-13,
    torch.float32: 2e-6,
    torch.bfloat16: 1e-2,
    torch.float16: 1.5e-3,
}
SIZES = [  # directions, batch, tokens, channels, states
    (1, 1, 1, 1, 1),
    (2, 1, 1, 5, 16),
    (2, 3, 31, 6, 3),
    (2, 2, 33, 4, 16),
    (1, 5, 64, 3, 2),
    (2, 1, 65, 8, 64),
    (4, 2, 97, 3, 5),
    (2, 1, 193, 7, 16),
]


@pytest.fixture(autouse=True)
def chunked(monkeypatch):
    """On a CPU, this file is about the form in plain torch; `test_native` is about the other."""
    monkeypatch.setenv("MODEL_ZOO_NATIVE", "off")


def scan(operands: dict[str, Any], **options: Any) -> Tensor:
    return selective_scan(**operands, reverse=REVERSE[: len(operands["u"])], **options)


def trusted(operands: dict[str, Any], **options: Any) -> Tensor:
    reverse = REVERSE[: len(operands["u"])]
    return reference.selective_scan(**widened(operands), reverse=reverse, **options)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("sizes", SIZES)
def test_chunks_give_what_the_loop_gives(sizes, dtype):
    operands = scan_operands(*sizes, dtype=dtype)
    y = scan(operands)
    assert y.dtype == dtype
    assert relative_error(y, trusted(operands)) < TOLERANCES[dtype]


@pytest.mark.parametrize("missing", ["D", "z", "delta_bias"])
def test_operands_may_be_left_out(missing):
    operands = scan_operands(2, 2, 40, 3, 4) | {missing: None}
    assert relative_error(scan(operands), trusted(operands)) < 1e-13


def test_step_sizes_may_come_without_softplus():
    operands = scan_operands(2, 2, 40, 3, 4)
    operands |= {"delta": operands["delta"].abs(), "delta_bias": operands["delta_bias"].abs()}
    y, expected = scan(operands, delta_softplus=False), trusted(operands, delta_softplus=False)
    assert relative_error(y, expected) < 1e-13
    assert relative_error(y, trusted(operands)) > 0.1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shift", [-1e4, -90.0, 19.9, 90.0, 1e4])
def test_extreme_step_sizes_stay_finite_and_right(shift, dtype):
    operands = scan_operands(2, 1, 40, 3, 4, dtype=dtype)
    operands["delta"] += shift
    y, expected = scan(operands), trusted(operands)
    assert y.isfinite().all()
    assert relative_error(y, expected) < TOLERANCES[dtype]


def test_a_reversed_direction_is_a_flipped_scan():
    # each chunk fills torch's vectors, since what is left over is rounded differently
    operands: dict[str, Any] = scan_operands(1, 2, 72, 4, 4)
    flipped = {
        name: x.flip(-2) if name in ("u", "delta", "B", "C", "z") else x
        for name, x in operands.items()
    }
    backwards = selective_scan(**operands, reverse=(True,))
    assert torch.equal(backwards, selective_scan(**flipped, reverse=(False,)).flip(-2))


def test_strided_operands_need_no_copy_to_be_right():
    operands = scan_operands(2, 2, 37, 6, 4)
    strided = {
        "u": operands["u"].transpose(0, 1).contiguous().transpose(0, 1),
        "delta": operands["delta"].transpose(2, 3).contiguous().transpose(2, 3),
        "A": operands["A"].transpose(1, 2).contiguous().transpose(1, 2),
        "B": torch.cat((operands["C"], operands["B"]), dim=-1)[..., 4:],
        "C": torch.cat((operands["C"], operands["B"]), dim=-1)[..., :4],
        "z": torch.cat((operands["u"][0], operands["z"]), dim=-1)[..., 6:],
        "D": operands["D"],
        "delta_bias": operands["delta_bias"],
    }
    assert relative_error(scan(strided), scan(operands)) < 1e-14


def test_a_run_repeats_to_the_bit():
    operands = scan_operands(2, 3, 100, 16, 16, dtype=torch.float32)
    assert torch.equal(scan(operands), scan(operands))


@pytest.mark.parametrize("missing", [None, "D", "z", "delta_bias"])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 2, 1), (2, 2, 63, 3, 4), (3, 1, 130, 2, 3)])
def test_gradients_are_those_of_the_loop(sizes, missing):
    operands: dict[str, Any] = scan_operands(*sizes)
    operands |= {missing: None} if missing else {}
    leaves = [x.requires_grad_() for x in operands.values() if x is not None]
    grad = normal(*operands["u"].shape[1:], seed=9)
    ours = torch.autograd.grad(scan(operands), leaves, grad)
    expected = torch.autograd.grad(trusted(operands), leaves, grad)
    assert max(map(relative_error, ours, expected)) < 1e-12


def test_gradients_hold_without_softplus():
    operands = scan_operands(2, 2, 70, 3, 4)
    operands |= {"delta": operands["delta"].abs(), "delta_bias": operands["delta_bias"].abs()}
    leaves = [x.requires_grad_() for x in operands.values()]
    ours = torch.autograd.grad(scan(operands, delta_softplus=False).sum(), leaves)
    expected = torch.autograd.grad(trusted(operands, delta_softplus=False).sum(), leaves)
    assert max(map(relative_error, ours, expected)) < 1e-12


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_gradients_have_the_types_of_their_operands(dtype):
    operands = scan_operands(2, 2, 70, 3, 4, dtype=dtype)
    leaves = [x.requires_grad_() for x in operands.values()]
    grad = normal(2, 70, 3, seed=9).to(dtype)
    ours = torch.autograd.grad(scan(operands), leaves, grad)
    expected = torch.autograd.grad(trusted(operands), leaves, grad.double())
    assert [x.dtype for x in ours] == [x.dtype for x in leaves]
    assert max(map(relative_error, ours, expected)) < TOLERANCES[dtype]


def test_gradients_are_finite_differences():
    operands = scan_operands(2, 1, 5, 2, 2)
    names = list(operands)
    leaves = [x.requires_grad_() for x in operands.values()]

    def scanned(*values: Tensor) -> Tensor:
        return scan(dict(zip(names, values, strict=True)))

    assert torch.autograd.gradcheck(scanned, leaves)


def test_a_second_derivative_is_refused_rather_than_wrong():
    operands = scan_operands(1, 1, 4, 2, 2)
    u = operands["u"].requires_grad_()
    (first,) = torch.autograd.grad(scan(operands).sum(), u, create_graph=True)
    with pytest.raises(NotImplementedError, match="once only"):
        first.sum().backward()


@pytest.mark.parametrize("checkpoint_steps", [1, 5, 16, 48, 1000])
def test_any_distance_of_checkpoints_gives_the_same_gradients(checkpoint_steps):
    operands = scan_operands(2, 2, 70, 3, 4)
    grad = normal(2, 70, 3, seed=9)

    def gradients(steps: int) -> tuple[Tensor, ...]:
        options = {"delta_softplus": True, "reverse": REVERSE[:2], "checkpoint_steps": steps}
        _, checkpoints = torch.ops.model_zoo.selective_scan(*in_order(operands), **options)
        gradients: tuple[Tensor, ...] = torch.ops.model_zoo.selective_scan_backward(
            grad, *in_order(operands), checkpoints, **options
        )
        return gradients

    assert max(map(relative_error, gradients(checkpoint_steps), gradients(64))) < 1e-12


def in_order(operands: dict[str, Any]) -> list[Any]:
    return [operands[name] for name in ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")]


@pytest.mark.parametrize("missing", [(), ("D", "z", "delta_bias")])
def test_torch_accepts_the_operators(missing):
    operands: dict[str, Any] = scan_operands(2, 2, 9, 3, 2) | dict.fromkeys(missing)
    leaves = [x if x is None else x.requires_grad_() for x in in_order(operands)]
    options = {"delta_softplus": True, "reverse": [False, True], "checkpoint_steps": 4}
    torch.library.opcheck(torch.ops.model_zoo.selective_scan.default, tuple(leaves), options)
    detached = [x if x is None else x.detach() for x in leaves]
    _, checkpoints = torch.ops.model_zoo.selective_scan(*detached, **options)
    torch.library.opcheck(
        torch.ops.model_zoo.selective_scan_backward.default,
        (normal(2, 9, 3), *detached, checkpoints),
        options,
    )


def test_it_compiles_without_a_graph_break():
    operands = scan_operands(2, 2, 9, 3, 2)
    compiled = torch.compile(scan, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(operands), scan(operands))


def test_the_meta_device_knows_shape_and_type():
    operands = scan_operands(2, 3, 9, 4, 2, dtype=torch.bfloat16)
    y = scan({name: x.to("meta") for name, x in operands.items()})
    assert (y.shape, y.dtype, y.device.type) == ((3, 9, 4), torch.bfloat16, "meta")


def test_torch_counts_three_multiply_adds_a_state_and_one_a_channel():
    operands = scan_operands(2, 3, 9, 4, 5)
    with FlopCounterMode(display=False) as counter:
        scan(operands)
    assert counter.get_total_flops() == 2 * 2 * 3 * (3 * 9 * 4 * 5 + 9 * 4)
    with FlopCounterMode(display=False) as counter:
        scan(operands | {"D": None})
    assert counter.get_total_flops() == 2 * 2 * 3 * (3 * 9 * 4 * 5)


def test_torch_counts_training_as_declared():
    operands = {name: x.requires_grad_() for name, x in scan_operands(2, 3, 9, 4, 5).items()}
    with FlopCounterMode(display=False) as counter:
        scan(operands).sum().backward()
    u = operands["u"].shape
    declared = package.multiply_adds(u, 5) + package.backward_multiply_adds(u, 5)
    assert counter.get_total_flops() == 2 * declared
    assert package.backward_multiply_adds(u, 5) == 2 * 3 * 9 * 4 * (11 * 5 + 2)


def test_conventions_are_those_of_the_papers():
    # VideoMamba-Ti at 8 x 224 px: 24 layers of two directions over 1569 tokens of 384 channels
    u = (24 * 2, 1, 1569, 384)
    assert package.multiply_adds(u, 16) == 1417070592
    assert package.vmamba_flops(u, 16) == 4222291968
    assert package.vmamba_flops(u, 16, has_gate=False) == 48 * (9 * 1569 * 384 * 16 + 1569 * 384)
    assert package.videomamba_printed(u, 16) == 0
    printed = json.loads((ZOO / "videomamba__tiny.json").read_text())["macs"]["total"]
    assert printed < package.multiply_adds(u, 16) + 8560192512  # the print leaves the scan out


class LargestResult(TorchDispatchMode):
    """Elements of the largest tensor that an operator makes."""

    num_elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and not func.is_view:
            self.num_elements = max(self.num_elements, result.numel())
        return result


def test_memory_beyond_the_result_is_that_of_one_chunk():
    # y has fewer elements than a chunk's state here, so any array that grows would show
    largest = []
    for length in (256, 512, 1024):
        operands = scan_operands(2, 1, length, 4, 64, dtype=torch.float32)
        inputs = ScanInputs(*in_order(operands), delta_softplus=True, reverse=REVERSE[:2])
        with LargestResult() as mode:
            cpu.forward(inputs, checkpoint_steps=0)
        largest.append(mode.num_elements)
    assert all(later == earlier for earlier, later in pairwise(largest))
    assert largest[0] == 2 * cpu.MAX_STEPS * 64 * 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"delta": normal(2, 1, 5, 3)}, r"delta must be \(2, 1, 4, 3\).*got: \(2, 1, 5, 3\)"),
        ({"A": normal(2, 4, 2)}, "A must be"),
        ({"C": normal(2, 1, 4, 3)}, "C must be"),
        ({"D": normal(3)}, "D must be"),
        ({"z": normal(2, 1, 4, 3)}, "z must be"),
        ({"reverse": (True,)}, r"reverse must hold 2 flags, one a direction: \[True\]"),
    ],
)
def test_shapes_that_do_not_go_together_are_named(change, message):
    arguments: dict[str, Any] = {**scan_operands(2, 1, 4, 3, 2), "reverse": (False, True)}
    with pytest.raises(UnsupportedInputError, match=message):
        selective_scan(**arguments | change)


def test_what_runs_where_has_a_name():
    assert package.implementation("cpu") == "chunked"
    assert package.implementation("cuda:0") == "triton"


def test_everything_but_speed_works_without_triton():
    program = """
import sys
sys.modules["triton"] = None
import importlib.util
importlib.util.find_spec = lambda name, find=importlib.util.find_spec: (
    None if name == "triton" else find(name)
)
import torch
from model_zoo.kernels import causal_conv1d, selective_scan
assert selective_scan.implementation("cuda") == causal_conv1d.implementation("cuda") == "chunked"
from model_zoo import create_model
model = create_model("videomamba_image_tiny", resolution=32)
assert model(torch.zeros(1, 3, 1, 32, 32)).isfinite().all()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
