"""Packing against plain stacking, and its gradients against those of autograd."""

import pytest
import torch
from torch import Tensor

from model_zoo.kernels import pack_directions as package
from model_zoo.kernels.pack_directions import (
    Direction,
    Packed,
    pack_directions,
    unpack_gradients,
)
from tests.model_zoo.kernels.drawing import normal, relative_error

SIZES = [(6, 4, 2, 3), (1, 1, 1, 1), (40, 4, 3, 16)]  # channels, taps, rank, states


def direction(
    channels: int,
    taps: int,
    rank: int,
    states: int,
    *,
    seed: int = 0,
    dtype: torch.dtype = torch.float64,
) -> Direction:
    return Direction(
        conv_weight=normal(channels, 1, taps, dtype=dtype, seed=seed + 1),
        conv_bias=normal(channels, dtype=dtype, seed=seed + 2),
        x_weight=normal(rank + 2 * states, channels, dtype=dtype, seed=seed + 3),
        dt_weight=normal(channels, rank, dtype=dtype, seed=seed + 4),
        dt_bias=normal(channels, dtype=dtype, seed=seed + 5),
        A_log=normal(channels, states, dtype=dtype, seed=seed + 6),
        D=normal(channels, dtype=dtype, seed=seed + 7),
    )


def directions(*sizes: int, dtype: torch.dtype = torch.float64) -> tuple[Direction, Direction]:
    return direction(*sizes, dtype=dtype), direction(*sizes, seed=10, dtype=dtype)


def stacked(forward: Direction, backward: Direction) -> Packed:
    """The operands as a model would make them of torch's operators."""
    both = Direction(*(torch.stack(pair) for pair in zip(forward, backward, strict=True)))
    rank = forward.dt_weight.shape[1]
    return Packed(
        conv_weight=both.conv_weight.squeeze(2),
        conv_bias=both.conv_bias,
        x_weight=both.x_weight.roll(-rank, dims=1),
        dt_weight=both.dt_weight,
        dt_bias=both.dt_bias,
        rates=-both.A_log.exp().transpose(1, 2),
        D=both.D,
    )


@pytest.mark.parametrize("sizes", SIZES)
def test_the_operands_are_the_stacked_parameters(sizes):
    forward, backward = directions(*sizes)
    packed = pack_directions(forward, backward, torch.float64)
    for operand, expected in zip(packed, stacked(forward, backward), strict=True):
        assert operand.shape == expected.shape
        assert operand.is_contiguous()
        assert relative_error(operand, expected) < 1e-15


@pytest.mark.parametrize("parameters", [torch.float32, torch.bfloat16])
def test_only_what_is_in_products_takes_the_type_of_the_tokens(parameters):
    forward, backward = directions(*SIZES[0], dtype=parameters)
    packed = pack_directions(forward, backward, torch.bfloat16)
    narrow = {"x_weight", "dt_weight"}
    for name, operand in zip(Packed._fields, packed, strict=True):
        assert operand.dtype == (torch.bfloat16 if name in narrow else torch.float32), name
    exact = stacked(*(Direction(*(x.double() for x in d)) for d in (forward, backward)))
    for name, operand, expected in zip(Packed._fields, packed, exact, strict=True):
        assert relative_error(operand, expected) < (4e-3 if name in narrow else 1e-6)


@pytest.mark.parametrize("sizes", SIZES)
def test_gradients_go_back_to_where_the_parameters_came_from(sizes):
    parameters = directions(*sizes)
    leaves = [x.requires_grad_() for each in parameters for x in each]
    operands = stacked(*parameters)
    gradients = Packed(*(normal(*x.shape, seed=30 + i) for i, x in enumerate(operands)))
    expected = torch.autograd.grad(operands, leaves, gradients)
    rates = operands.rates.detach()
    ours: list[Tensor] = []
    for each in unpack_gradients(gradients, rates, parameters[0]):
        ours += each
    for value, of_torch in zip(ours, expected, strict=True):
        assert value.shape == of_torch.shape
        assert relative_error(value, of_torch) < 1e-14


def test_gradients_have_the_types_of_the_parameters():
    forward, backward = directions(*SIZES[0], dtype=torch.bfloat16)
    packed = pack_directions(forward, backward, torch.bfloat16)
    for each in unpack_gradients(packed, packed.rates, forward):
        assert {x.dtype for x in each} == {torch.bfloat16}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_torch_accepts_the_operator(dtype):
    forward, backward = directions(*SIZES[0], dtype=torch.float32)
    operator = torch.ops.model_zoo.pack_directions.default
    torch.library.opcheck(operator, (list(forward), list(backward), dtype))


def test_what_runs_where_has_a_name():
    assert package.implementation("cpu") == "torch"
    assert package.implementation("cuda:0") == "triton"
