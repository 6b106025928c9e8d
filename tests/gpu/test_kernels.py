"""The zoo's operators on CUDA against their float64 results on the CPU. Run with `make gpu`."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from model_zoo.kernels import bi_wkv, bi_wkv_matrix, causal_conv1d, selective_scan
from model_zoo.kernels.selective_scan.inputs import ScanInputs
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
ORDER = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias")


def on_device(value: Tensor) -> Tensor:
    """A copy that fills its memory."""
    return value.clone().to(DEVICE)


def assert_same_as_in_float64(
    operator: Callable[..., Tensor],
    operands: Operands,
    dtype: torch.dtype,
    *,
    place: Callable[[Tensor], Tensor] = on_device,
    **options: Any,
) -> None:
    """Compare output and every gradient; two runs forward must be equal to the bit."""
    ours = {name: place(value).requires_grad_() for name, value in operands.items()}
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


def drawn_sizes(seed: int) -> tuple[int, ...]:
    """Directions, batch, tokens, channels and states, of at most 8 million exponentials."""
    draw = random.Random(seed)
    num_states = draw.choice([1, 2, 7, 8, 16, 16, 16, 31, 64])
    channels = draw.choice([1, 5, 32, 33, 64, 96, 384])
    batch = draw.choice([1, 1, 2, 3, 8, 64, 128])
    num_directions = draw.randint(1, 4)
    most = max(1, 8_000_000 // (num_states * channels * batch * num_directions))
    return num_directions, batch, draw.randint(1, min(2500, most)), channels, num_states


@pytest.mark.parametrize("seed", range(24))
def test_selective_scan_of_any_size(seed):
    sizes = drawn_sizes(seed)
    dtype = list(FORWARD)[seed % len(FORWARD)]
    operands = scan_operands(*sizes, dtype=dtype)
    scan = selective_scan.selective_scan
    assert_same_as_in_float64(scan, operands, dtype, reverse=REVERSE[: sizes[0]])


@pytest.mark.parametrize("dtype", FORWARD)
@pytest.mark.parametrize("batch", [1, 128])
def test_selective_scan_of_one_token(batch, dtype):
    operands = scan_operands(2, batch, 1, 48, 16, dtype=dtype)
    scan = selective_scan.selective_scan
    assert_same_as_in_float64(scan, operands, dtype, reverse=REVERSE[:2])


@pytest.mark.parametrize("dtype", FORWARD)
@pytest.mark.parametrize("shift", [-1e4, -15.0, 20.0, 1e4])
def test_selective_scan_at_extreme_step_sizes(shift, dtype):
    operands = scan_operands(2, 1, 300, 33, 16, dtype=dtype)
    operands["delta"] += shift
    operands["u"] /= 100  # else float16 has no number as large as the result
    scan: Callable[..., Tensor] = selective_scan.selective_scan
    on_cuda = {name: on_device(value) for name, value in operands.items()}
    y = scan(**on_cuda, reverse=REVERSE[:2])
    expected = scan(**widened(operands), reverse=REVERSE[:2])
    assert y.isfinite().all()
    assert relative_error(y.cpu(), expected) < FORWARD[dtype]


def part_of_more(value: Tensor) -> Tensor:
    """A view with as much again behind each row, as parts of a projection are."""
    return torch.cat((value, value), dim=-1).to(DEVICE)[..., : value.shape[-1]]


def every_other(value: Tensor) -> Tensor:
    """A view that steps over every other number in memory."""
    return torch.stack((value, value), dim=-1).to(DEVICE)[..., 0]


@pytest.mark.parametrize("dtype", FORWARD)
@pytest.mark.parametrize("place", [part_of_more, every_other])
def test_selective_scan_of_strided_operands(place, dtype):
    operands = scan_operands(2, 2, 333, 80, 16, dtype=dtype)
    scan = selective_scan.selective_scan
    assert_same_as_in_float64(scan, operands, dtype, place=place, reverse=REVERSE[:2])


@pytest.mark.parametrize("dtype", FORWARD)
@pytest.mark.parametrize("span_tokens", [64, 192, 6400])
def test_selective_scan_split_in_spans(span_tokens, dtype):
    from model_zoo.kernels.selective_scan import cpu, cpu_backward, triton, triton_backward

    operands = scan_operands(2, 2, 1333, 72, 16, dtype=dtype)
    options: dict[str, Any] = {"delta_softplus": True, "reverse": REVERSE[:2]}
    inputs = ScanInputs(*(on_device(operands[name]) for name in ORDER), **options)
    exact = ScanInputs(*(widened(operands)[name] for name in ORDER), **options)
    grad = normal(2, 1333, 72, dtype=dtype, seed=9)

    def outputs_and_gradients() -> tuple[Tensor, ...]:
        y, states = triton.forward(inputs, checkpoint_steps=64, span_tokens=span_tokens)
        gradients = triton_backward.backward(
            grad.to(DEVICE), inputs, states, checkpoint_steps=64, span_tokens=span_tokens
        )
        return y, states, *gradients

    y, states = cpu.forward(exact, checkpoint_steps=64)
    expected = cpu_backward.backward(grad.double(), exact, states, checkpoint_steps=64)
    ours, again = outputs_and_gradients(), outputs_and_gradients()
    for value, repeated, of_exact in zip(ours, again, (y, states, *expected), strict=True):
        assert torch.equal(value, repeated)
        assert relative_error(value.cpu(), of_exact) < BACKWARD[dtype]


@pytest.mark.parametrize("dtype", FORWARD)
@pytest.mark.parametrize("place", [on_device, part_of_more, every_other])
@pytest.mark.parametrize(
    "sizes",
    [
        (2, 2, 1569, 384, 4),
        (1, 1, 1, 5, 4),
        (2, 3, 50, 66, 3),
        (2, 128, 1, 65, 4),
        (4, 1, 333, 1, 2),
    ],
)
def test_causal_conv1d(sizes, place, dtype):
    num_directions, batch, length, channels, taps = sizes
    operands = {
        "x": normal(batch, length, channels, dtype=dtype, seed=1),
        "weight": normal(num_directions, channels, taps, dtype=dtype, seed=2),
        "bias": normal(num_directions, channels, dtype=dtype, seed=3),
    }
    convolve = causal_conv1d.causal_conv1d
    reverse = REVERSE[:num_directions]
    assert_same_as_in_float64(convolve, operands, dtype, place=place, reverse=reverse)


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
