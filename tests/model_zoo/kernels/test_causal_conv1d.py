"""The causal convolution against its float64 reference, and as an operator among torch's own."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from model_zoo import UnsupportedInputError
from model_zoo.kernels import causal_conv1d as package
from model_zoo.kernels.causal_conv1d import causal_conv1d, reference
from tests.model_zoo.kernels.drawing import REVERSE, normal, relative_error, widened

TOLERANCES = {
    torch.float64: 1e-14,
    torch.float32: 1e-6,
    torch.bfloat16: 4e-3,
    torch.float16: 5e-4,
}
SIZES = [  # directions, batch, tokens, channels, taps
    (2, 1, 1, 3, 4),
    (1, 2, 3, 2, 1),
    (2, 3, 5, 4, 4),
    (4, 1, 2, 3, 7),
    (2, 2, 257, 3, 4),
    (3, 1, 600, 2, 3),
]


@pytest.fixture(autouse=True)
def chunked(monkeypatch):
    """On a CPU, this file is about the form in plain torch; `test_native` is about the other."""
    monkeypatch.setenv("MODEL_ZOO_NATIVE", "off")


def operands_of(
    num_directions: int,
    batch: int,
    length: int,
    channels: int,
    num_taps: int,
    *,
    dtype: torch.dtype = torch.float64,
) -> dict[str, Tensor]:
    """`x` is half of a wider tensor, as the model gives it."""
    return {
        "x": normal(batch, length, 2 * channels, dtype=dtype, seed=1)[..., :channels],
        "weight": normal(num_directions, channels, num_taps, dtype=dtype, seed=2),
        "bias": normal(num_directions, channels, dtype=dtype, seed=3),
    }


def convolve(operands: dict[str, Any], **options: Any) -> Tensor:
    return causal_conv1d(**operands, reverse=REVERSE[: len(operands["weight"])], **options)


def trusted(operands: dict[str, Any], **options: Any) -> Tensor:
    reverse = REVERSE[: len(operands["weight"])]
    return reference.causal_conv1d(**widened(operands), reverse=reverse, **options)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("sizes", SIZES)
def test_shifts_give_what_flips_and_padding_give(sizes, dtype):
    operands = operands_of(*sizes, dtype=dtype)
    y = convolve(operands)
    assert y.dtype == dtype
    assert relative_error(y, trusted(operands)) < TOLERANCES[dtype]


@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("sizes", SIZES)
def test_gradients_are_those_of_the_reference(sizes, has_bias, silu):
    operands: dict[str, Any] = operands_of(*sizes)
    operands |= {} if has_bias else {"bias": None}
    leaves = [x.requires_grad_() for x in operands.values() if x is not None]
    y, expected = convolve(operands, silu=silu), trusted(operands, silu=silu)
    grad = normal(*y.shape, seed=9)
    assert relative_error(y, expected) < 1e-14
    ours = torch.autograd.grad(y, leaves, grad)
    assert max(map(relative_error, ours, torch.autograd.grad(expected, leaves, grad))) < 1e-13


def test_a_token_sees_only_its_past_or_only_its_future():
    operands = operands_of(2, 1, 9, 2, 4)
    changed = operands | {"x": operands["x"].clone()}
    changed["x"][:, 4] += 1
    moved = (convolve(changed) - convolve(operands)).abs().amax((1, 3)) > 0  # (G, L)
    assert moved.tolist() == [[4 <= t < 8 for t in range(9)], [1 <= t < 5 for t in range(9)]]


def test_mixed_types_follow_the_tokens():
    operands = operands_of(2, 1, 9, 2, 4)
    operands["x"] = operands["x"].bfloat16()
    leaves = [x.requires_grad_() for x in operands.values()]
    y = convolve(operands)
    assert y.dtype == torch.bfloat16
    gradients = torch.autograd.grad(y.sum(), leaves)
    assert [x.dtype for x in gradients] == [torch.bfloat16, torch.float64, torch.float64]


def test_torch_accepts_the_operators():
    operands = [x.detach().requires_grad_() for x in operands_of(2, 2, 9, 3, 4).values()]
    options = {"reverse": [False, True], "silu": True}
    torch.library.opcheck(torch.ops.model_zoo.causal_conv1d.default, tuple(operands), options)
    detached = [x.detach() for x in operands]
    torch.library.opcheck(
        torch.ops.model_zoo.causal_conv1d_backward.default,
        (normal(2, 2, 9, 3), *detached),
        options,
    )


def test_a_second_derivative_is_refused_rather_than_wrong():
    operands = operands_of(1, 1, 4, 2, 3)
    x = operands["x"].requires_grad_()
    (first,) = torch.autograd.grad(convolve(operands).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="once only"):
        first.sum().backward()


def test_it_compiles_without_a_graph_break():
    operands = operands_of(2, 2, 9, 3, 4)
    compiled = torch.compile(convolve, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(operands), convolve(operands))


def test_torch_counts_every_tap_once_forward_and_three_times_back():
    operands = {
        name: x.to("meta").requires_grad_() for name, x in operands_of(2, 3, 9, 4, 5).items()
    }
    forward = 2 * 3 * 9 * 4 * 5
    assert package.multiply_adds((2, 3, 9, 4), 5) == forward
    with FlopCounterMode(display=False) as counter:
        y = convolve(operands)
    assert y.shape == (2, 3, 9, 4)
    assert counter.get_total_flops() == 2 * forward
    with FlopCounterMode(display=False) as counter:
        convolve(operands).sum().backward()
    assert counter.get_total_flops() == 2 * 4 * forward


@pytest.mark.parametrize("change", [{"weight": normal(2, 4, 4)}, {"bias": normal(3)}])
def test_shapes_that_do_not_go_together_are_named(change):
    (name,) = change
    with pytest.raises(UnsupportedInputError, match=f"{name} must be"):
        convolve(operands_of(2, 1, 5, 3, 4) | change)


def test_what_runs_where_has_a_name():
    assert package.implementation("cpu") == "chunked"
    assert package.implementation("cuda:0") == "triton"
