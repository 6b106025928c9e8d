"""The recomputing middle of a mixer against the same operators left to autograd."""

import pytest
import torch
from torch import Tensor

from model_zoo.kernels.causal_conv1d import causal_conv1d
from model_zoo.kernels.pack_directions import Direction
from model_zoo.kernels.selective_scan import CHECKPOINT_STEPS, selective_scan
from model_zoo.layers.both_ways import REVERSE, scan_both_ways
from tests.model_zoo.kernels.drawing import normal, relative_error
from tests.model_zoo.kernels.test_pack_directions import directions, stacked

SIZES = (8, 4, 3, 4)  # channels, taps, rank, states


def kept_by_autograd(xz: Tensor, forward: Direction, backward: Direction) -> Tensor:
    """The same by one differentiable operator after another."""
    packed = stacked(forward, backward)
    x, z = xz.chunk(2, dim=-1)
    u = causal_conv1d(x, packed.conv_weight, packed.conv_bias, reverse=REVERSE)
    rows = u @ packed.x_weight.transpose(1, 2).unsqueeze(1)
    states = packed.rates.shape[1]
    B, C, rank_dt = rows.split((states, states, rows.shape[-1] - 2 * states), dim=-1)
    return selective_scan(
        u,
        rank_dt @ packed.dt_weight.transpose(1, 2).unsqueeze(1),
        packed.rates.transpose(1, 2),
        B,
        C,
        D=packed.D,
        z=z,
        delta_bias=packed.dt_bias,
        reverse=REVERSE,
    )


def operands(
    length: int, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Direction, Direction]:
    xz = normal(2, length, 2 * SIZES[0], dtype=dtype, seed=40)
    return xz, *directions(*SIZES, dtype=dtype)


def leaves_of(xz: Tensor, *parameters: Direction) -> list[Tensor]:
    return [x.requires_grad_() for x in (xz, *parameters[0], *parameters[1])]


@pytest.mark.parametrize("length", [1, 7, 2 * CHECKPOINT_STEPS + 3])
def test_output_and_gradients_are_those_of_autograd(length):
    given = operands(length)
    leaves = leaves_of(*given)
    y, expected = scan_both_ways(*given), kept_by_autograd(*given)
    assert relative_error(y, expected) < 1e-14
    grad = normal(*y.shape, seed=50)
    ours = torch.autograd.grad(y, leaves, grad)
    theirs = torch.autograd.grad(expected, leaves, grad)
    for value, of_autograd in zip(ours, theirs, strict=True):
        assert value.shape == of_autograd.shape
        assert (value - of_autograd).abs().max() < 1e-12 * max(1.0, float(of_autograd.abs().max()))


def test_inference_gives_what_training_gives():
    given = operands(9)
    inferred = scan_both_ways(*given)
    leaves_of(*given)
    assert torch.equal(scan_both_ways(*given), inferred)
    with torch.no_grad():
        assert torch.equal(scan_both_ways(*given), inferred)


def test_only_the_input_and_the_checkpoints_are_kept():
    given = operands(3 * CHECKPOINT_STEPS)
    leaves_of(*given)
    parameters = {x.data_ptr() for each in given[1:] for x in each}
    kept: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        kept.append(x)
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        scan_both_ways(*given)
    sizes = [x.numel() for x in kept if x.data_ptr() not in parameters]
    directions_, batch, channels, states = 2, 2, SIZES[0], SIZES[3]
    assert sizes == [given[0].numel(), directions_ * batch * 3 * channels * states]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gradients_have_the_types_of_the_operands(dtype):
    given = operands(5, dtype)
    leaves = leaves_of(*given)
    y = scan_both_ways(*given)
    assert y.dtype == dtype
    gradients = torch.autograd.grad(y.float().square().sum(), leaves)
    assert {x.dtype for x in gradients} == {dtype}
    assert all(x.isfinite().all() for x in gradients)


def test_tokens_may_be_narrower_than_the_parameters():
    xz, forward, backward = operands(5, torch.float32)
    leaves = leaves_of(xz.bfloat16(), forward, backward)
    gradients = torch.autograd.grad(scan_both_ways(leaves[0], forward, backward).sum(), leaves)
    assert [x.dtype for x in gradients] == [torch.bfloat16] + 14 * [torch.float32]


def test_a_second_derivative_is_refused_rather_than_wrong():
    given = operands(4)
    xz = leaves_of(*given)[0]
    with pytest.raises(NotImplementedError, match="once only"):
        torch.autograd.grad(scan_both_ways(*given).sum(), xz, create_graph=True)


# torch 2.13 makes an instance of the function that it traces
@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
def test_it_compiles_without_a_graph_break_in_training_too():
    given = operands(5)
    leaves = leaves_of(*given)
    compiled = torch.compile(scan_both_ways, fullgraph=True, backend="aot_eager")
    y, expected = compiled(*given), scan_both_ways(*given)
    assert relative_error(y, expected) < 1e-14
    ours = torch.autograd.grad(y.sum(), leaves)
    theirs = torch.autograd.grad(expected.sum(), leaves)
    assert max(map(relative_error, ours, theirs)) < 1e-12
