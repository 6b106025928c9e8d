"""The edge cell against its float64 reference, and as an operator among torch's own."""

from typing import Any

import pytest
import torch
from torch import Tensor

from model_zoo import UnsupportedInputError
from model_zoo.kernels import edge_cell as package
from model_zoo.kernels.edge_cell import edge_cell, reference
from tests.model_zoo.kernels.drawing import normal, relative_error

TOLERANCES = {
    torch.float64: 1e-14,
    torch.float32: 1e-6,
    torch.bfloat16: 6e-3,
    torch.float16: 1e-3,
}
NAMES = ("attended", "receptance", "value", "edges", "cell")
SHAPES = [(2, 5, 24), (1, 1, 1), (3, 7, 130)]


def operands_of(*shape: int, dtype: torch.dtype = torch.float64) -> dict[str, Tensor]:
    """The edges are one frame of a clip, as the model gives them."""
    operands = {
        name: normal(*shape, dtype=dtype, seed=seed) for seed, name in enumerate(NAMES, start=1)
    }
    frames = torch.stack((operands["value"], operands["edges"], operands["cell"]), dim=1)
    return operands | {"edges": frames[:, 1]}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_states_are_those_of_the_reference(shape, dtype):
    operands = operands_of(*shape, dtype=dtype)
    ours = edge_cell(**operands)
    expected = reference.edge_cell(**{name: x.double() for name, x in operands.items()})
    for state, exact in zip(ours, expected, strict=True):
        assert state.dtype == dtype
        assert state.is_contiguous()
        assert relative_error(state, exact) < TOLERANCES[dtype]


@pytest.mark.parametrize("used", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_the_reference(shape, used):
    operands = {name: x.requires_grad_() for name, x in operands_of(*shape).items()}

    def gradients(function: Any) -> tuple[Tensor, ...]:
        states = function(**operands)
        loss = sum((states[i] * normal(*shape, seed=8 + i)).sum() for i in used)
        assert isinstance(loss, Tensor)
        return torch.autograd.grad(loss, list(operands.values()))

    for ours, theirs in zip(gradients(edge_cell), gradients(reference.edge_cell), strict=True):
        assert relative_error(ours, theirs) < 1e-13


def test_extreme_gates_neither_overflow_nor_lose_their_sign():
    operands = operands_of(1, 1, 4, dtype=torch.float32)
    operands["attended"] = torch.tensor([[[-1e4, -90.0, 90.0, 1e4]]])
    operands["receptance"] = torch.tensor([[[-1e4, 1e4, -1e4, 1e4]]])
    for ours, exact in zip(edge_cell(**operands), reference.edge_cell(**operands), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-6, atol=1e-6)


def test_states_keep_the_type_of_the_cell_and_gradients_that_of_each_operand():
    operands = operands_of(2, 5, 24, dtype=torch.float32)
    narrow = {name: operands[name].bfloat16() for name in ("receptance", "value")}
    leaves = {name: x.detach().requires_grad_() for name, x in (operands | narrow).items()}
    hidden, cell = edge_cell(**leaves)
    assert (hidden.dtype, cell.dtype) == (torch.float32, torch.float32)
    gradients = torch.autograd.grad((hidden + cell).sum(), list(leaves.values()))
    assert [x.dtype for x in gradients] == [x.dtype for x in leaves.values()]


def test_torch_accepts_the_operators():
    operands = [x.detach().requires_grad_() for x in operands_of(2, 5, 24).values()]
    torch.library.opcheck(torch.ops.model_zoo.edge_cell.default, tuple(operands))
    detached = [x.detach() for x in operands]
    for grads in ((detached[0], None), (None, detached[0]), (detached[1], detached[0])):
        torch.library.opcheck(torch.ops.model_zoo.edge_cell_backward.default, (*grads, *detached))


def test_a_second_derivative_is_refused_rather_than_wrong():
    operands = operands_of(1, 4, 3)
    cell = operands["cell"].requires_grad_()
    (first,) = torch.autograd.grad(edge_cell(**operands)[0].sum(), cell, create_graph=True)
    with pytest.raises(NotImplementedError, match="once only"):
        first.sum().backward()


def test_it_compiles_without_a_graph_break():
    operands = operands_of(2, 5, 24)
    compiled: Any = torch.compile(edge_cell, fullgraph=True, backend="aot_eager")
    for ours, expected in zip(compiled(**operands), edge_cell(**operands), strict=True):
        assert torch.equal(ours, expected)


@pytest.mark.parametrize("name", NAMES[:-1])
def test_shapes_that_do_not_go_together_are_named(name):
    with pytest.raises(UnsupportedInputError, match=f"{name} must be"):
        edge_cell(**operands_of(2, 5, 24) | {name: normal(2, 5, 23)})


def test_what_runs_where_has_a_name():
    assert package.implementation("cpu") == "torch"
    assert package.implementation("cuda:0") == "triton"
