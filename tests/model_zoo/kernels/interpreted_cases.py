"""Triton kernels in Triton's interpreter; `test_triton_interpreter` runs this in its own process.

The interpreter is chosen when a kernel is defined, so that kernels cannot be interpreted and
compiled in one process.
"""

from typing import Any

import pytest
import torch
from torch import Tensor

from model_zoo.kernels.causal_conv1d import cpu as convolution
from model_zoo.kernels.causal_conv1d import triton as triton_convolution
from model_zoo.kernels.selective_scan import cpu, cpu_backward, triton, triton_backward
from model_zoo.kernels.selective_scan.inputs import ScanInputs
from tests.model_zoo.kernels.drawing import (
    REVERSE,
    normal,
    relative_error,
    scan_operands,
    widened,
)

TOLERANCES = {
    torch.float64: 1e-13,
    torch.float32: 2e-6,
    torch.bfloat16: 1.6e-2,  # the interpreter truncates, where a GPU rounds
    torch.float16: 2e-3,
}
ORDER = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")
CHECKPOINT_STEPS = 4


def inputs_of(operands: dict[str, Any], *, delta_softplus: bool = True) -> ScanInputs:
    reverse = REVERSE[: len(operands["u"])]
    ordered = [operands[name] for name in ORDER]
    return ScanInputs(*ordered, delta_softplus=delta_softplus, reverse=reverse)


def assert_scans_agree(
    operands: dict[str, Any],
    tolerance: float,
    *,
    span_tokens: int | None = None,
    **options: bool,
) -> None:
    """Output and gradients of the Triton kernels against the chunks in float64."""
    inputs, exact = inputs_of(operands, **options), inputs_of(widened(operands), **options)
    grad = normal(*inputs.u.shape[1:], dtype=inputs.u.dtype, seed=9)
    steps = {"checkpoint_steps": CHECKPOINT_STEPS}
    y, checkpoints = triton.forward(inputs, **steps, span_tokens=span_tokens)
    expected, exact_checkpoints = cpu.forward(exact, **steps)
    assert y.dtype == inputs.u.dtype
    assert relative_error(y, expected) < tolerance
    assert relative_error(checkpoints, exact_checkpoints) < tolerance
    without_checkpoints, _ = triton.forward(inputs, checkpoint_steps=0, span_tokens=span_tokens)
    assert torch.equal(without_checkpoints, y)
    ours = triton_backward.backward(grad, inputs, checkpoints, **steps, span_tokens=span_tokens)
    theirs = cpu_backward.backward(grad.double(), exact, exact_checkpoints, **steps)
    assert [x.shape for x in ours] == [x.shape for x in theirs]
    assert [x.is_contiguous() for x in ours] == [True] * len(ours)
    for gradient, of_exact in zip(ours, theirs, strict=True):
        assert gradient.numel() == 0 or relative_error(gradient, of_exact) < tolerance


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("sizes", [(2, 2, 7, 5, 4), (1, 1, 1, 3, 1), (3, 1, 5, 3, 33)])
def test_scan(sizes, dtype):
    assert_scans_agree(scan_operands(*sizes, dtype=dtype), TOLERANCES[dtype])


def test_scan_of_more_channels_than_a_block():
    assert_scans_agree(scan_operands(2, 1, 9, 40, 16, dtype=torch.float32), 2e-6)


@pytest.mark.parametrize(
    ("sizes", "dtype"),
    [((2, 1, 11, 5, 4), torch.float64), ((1, 2, 13, 3, 2), torch.bfloat16)],
)
def test_scan_of_tokens_split_in_spans(sizes, dtype):
    assert_scans_agree(scan_operands(*sizes, dtype=dtype), TOLERANCES[dtype], span_tokens=4)


@pytest.mark.parametrize("missing", [("D",), ("z",), ("delta_bias",), ("D", "z", "delta_bias")])
def test_scan_with_operands_left_out(missing):
    operands = scan_operands(2, 2, 5, 3, 2) | dict.fromkeys(missing)
    assert_scans_agree(operands, 1e-13)
    assert_scans_agree(scan_operands(1, 2, 5, 3, 2) | dict.fromkeys(missing), 1e-13)


def test_scan_without_softplus():
    operands = scan_operands(2, 1, 5, 3, 2)
    operands |= {"delta": operands["delta"].abs(), "delta_bias": operands["delta_bias"].abs()}
    assert_scans_agree(operands, 1e-13, delta_softplus=False)


@pytest.mark.parametrize("shift", [-1e4, -15.0, 20.0, 1e4])
def test_scan_at_extreme_step_sizes(shift):
    operands = scan_operands(2, 1, 5, 3, 2, dtype=torch.float32)
    operands["delta"] += shift
    y, _ = triton.forward(inputs_of(operands), checkpoint_steps=0)
    expected, _ = cpu.forward(inputs_of(widened(operands)), checkpoint_steps=0)
    assert y.isfinite().all()
    assert relative_error(y, expected) < 2e-6


def test_scan_of_strided_operands():
    operands = scan_operands(2, 2, 5, 6, 4)
    both = torch.cat((operands["B"], operands["C"]), dim=-1)
    strided = operands | {
        "u": operands["u"].transpose(0, 1).contiguous().transpose(0, 1),
        "delta": operands["delta"].transpose(2, 3).contiguous().transpose(2, 3),
        "B": both[..., :4],
        "C": both[..., 4:],
        "z": torch.cat((operands["u"][0], operands["z"]), dim=-1)[..., 6:],
    }
    assert_scans_agree(strided, 1e-13)


@pytest.mark.parametrize(
    ("sizes", "has_bias", "silu"),
    [
        *(
            ((2, 2, 5, 3, 4), has_bias, silu)
            for has_bias in (True, False)
            for silu in (True, False)
        ),
        ((1, 1, 1, 2, 4), True, True),
        ((3, 1, 67, 66, 3), True, True),
    ],
)
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_convolution(sizes, has_bias, silu, dtype):
    num_directions, batch, length, channels, num_taps = sizes
    x = normal(batch, length, 2 * channels, dtype=dtype, seed=1)[..., channels:]
    weight = normal(num_directions, channels, num_taps, dtype=dtype, seed=2)
    bias = normal(num_directions, channels, dtype=dtype, seed=3) if has_bias else None
    grad = normal(num_directions, batch, length, channels, dtype=dtype, seed=4)
    options: dict[str, Any] = {"reverse": REVERSE[:num_directions], "silu": silu}

    def exactly(tensor: Tensor | None) -> Any:
        return None if tensor is None else tensor.double()

    exact = (exactly(x), exactly(weight), exactly(bias))
    ours = (
        triton_convolution.forward(x, weight, bias, **options),
        *triton_convolution.backward(grad, x, weight, bias, **options),
    )
    expected = (
        convolution.forward(*exact, **options),
        *convolution.backward(grad.double(), *exact, **options),
    )
    for value, of_exact in zip(ours, expected, strict=True):
        assert value.shape == of_exact.shape
        assert value.numel() == 0 or relative_error(value, of_exact) < TOLERANCES[dtype]
