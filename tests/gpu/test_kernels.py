"""The zoo's operators on CUDA against their float64 results on the CPU. Run with `make gpu`."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from model_zoo.kernels import bi_wkv, bi_wkv_matrix, causal_conv1d, selective_scan
from tests.model_zoo.kernels.drawing import (
    REVERSE,
    normal,
    relative_error,
    scan_operands,
    widened,
)

pytestmark = pytest.mark.gpu

DEVICE = "cuda"
FORWARD = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 3e-3}
BACKWARD = {torch.float32: 1e-4, torch.bfloat16: 3e-2, torch.float16: 5e-3}

Operands = dict[str, Tensor]


def assert_same_as_in_float64(
    operator: Callable[..., Tensor], operands: Operands, dtype: torch.dtype, **options: Any
) -> None:
    """Compare output and every gradient; two runs forward must be equal to the bit."""
    ours = {name: value.clone().to(DEVICE).requires_grad_() for name, value in operands.items()}
    exact = {name: value.requires_grad_() for name, value in widened(operands).items()}
    y, expected = operator(**ours, **options), operator(**exact, **options)
    assert torch.equal(operator(**ours, **options), y)
    assert relative_error(y.cpu(), expected) < FORWARD[dtype]
    grad = normal(*expected.shape, seed=9)
    y.backward(grad.to(DEVICE, y.dtype))
    expected.backward(grad.to(y.dtype).double())
    for name, value in ours.items():
        assert value.grad is not None
        assert exact[name].grad is not None
        error = relative_error(value.grad.cpu(), exact[name].grad)
        assert error < BACKWARD[dtype], f"gradient of {name} is off by {error:.2g}"


def test_the_compiled_kernels_are_the_ones_that_run():
    modules = (selective_scan, causal_conv1d, bi_wkv, bi_wkv_matrix)
    assert {module.implementation(DEVICE) for module in modules} == {"triton"}


@pytest.mark.parametrize("dtype", FORWARD)
@pytest.mark.parametrize(
    "sizes",
    [(2, 1, 1, 384, 16), (2, 2, 1569, 384, 16), (1, 3, 257, 100, 8), (2, 1, 33, 65, 64)],
)
def test_selective_scan(sizes, dtype):
    operands = scan_operands(*sizes, dtype=dtype)
    scan = selective_scan.selective_scan
    assert_same_as_in_float64(scan, operands, dtype, reverse=REVERSE[: sizes[0]])


@pytest.mark.parametrize("dtype", FORWARD)
@pytest.mark.parametrize("sizes", [(2, 2, 1569, 384, 4), (1, 1, 1, 5, 4), (2, 3, 50, 66, 3)])
def test_causal_conv1d(sizes, dtype):
    num_directions, batch, length, channels, taps = sizes
    operands = {
        "x": normal(batch, length, channels, dtype=dtype, seed=1),
        "weight": normal(num_directions, channels, taps, dtype=dtype, seed=2),
        "bias": normal(num_directions, channels, dtype=dtype, seed=3),
    }
    convolve = causal_conv1d.causal_conv1d
    assert_same_as_in_float64(convolve, operands, dtype, reverse=REVERSE[:num_directions])


@pytest.mark.parametrize("dtype", FORWARD)
@pytest.mark.parametrize("sizes", [(2, 196, 192), (1, 1, 3), (1, 785, 65)])
def test_bi_wkv(sizes, dtype):
    operands = {
        "k": normal(*sizes, dtype=dtype, seed=1),
        "v": normal(*sizes, dtype=dtype, seed=2),
        "decay": normal(sizes[-1], dtype=torch.float32, seed=3).abs(),
        "bonus": normal(sizes[-1], dtype=torch.float32, seed=4),
    }
    assert_same_as_in_float64(bi_wkv.bi_wkv, operands, dtype)
