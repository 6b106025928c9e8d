"""The kernels of the edge cell in Triton's interpreter; run by `test_triton_interpreter`."""

import pytest
import torch

from model_zoo.kernels.edge_cell import cpu, triton
from tests.model_zoo.kernels.drawing import normal, relative_error
from tests.model_zoo.kernels.interpreted_cases import TOLERANCES
from tests.model_zoo.kernels.test_edge_cell import operands_of


@pytest.mark.parametrize("used", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", [(2, 5, 24), (1, 1, 1), (3, 7, 130)])
def test_edge_cell(shape, dtype, used):
    operands = tuple(operands_of(*shape, dtype=dtype).values())
    exact = tuple(x.double() for x in operands)
    assert shape[0] == 1 or not operands[3].is_contiguous()
    for state, expected in zip(triton.forward(*operands), cpu.forward(*exact), strict=True):
        assert state.dtype == dtype
        assert relative_error(state, expected) < TOLERANCES[dtype]
    of_hidden, of_cell = (
        normal(*shape, dtype=dtype, seed=8 + i) if is_used else None
        for i, is_used in enumerate(used)
    )
    ours = triton.backward(of_hidden, of_cell, *operands)
    wide = [None if grad is None else grad.double() for grad in (of_hidden, of_cell)]
    theirs = cpu.backward(wide[0], wide[1], *exact)
    for gradient, expected in zip(ours, theirs, strict=True):
        assert gradient.dtype == dtype
        assert relative_error(gradient, expected) < TOLERANCES[dtype]


def test_edge_cell_at_extreme_gates():
    operands = operands_of(1, 1, 4, dtype=torch.float32)
    operands["attended"] = torch.tensor([[[-1e4, -90.0, 90.0, 1e4]]])
    operands["receptance"] = torch.tensor([[[-1e4, 1e4, -1e4, 1e4]]])
    ours, expected = (form.forward(*operands.values()) for form in (triton, cpu))
    for state, exact in zip(ours, expected, strict=True):
        torch.testing.assert_close(state, exact, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_edge_cell_of_small_states_is_as_exact_as_of_large_ones(dtype):
    magnitude = torch.logspace(-6, 1, 200, dtype=dtype).view(1, 1, -1)
    nothing = torch.zeros_like(magnitude)
    operands = (nothing, nothing, nothing, nothing, magnitude)
    hidden, _ = triton.forward(*operands)
    expected = 0.5 * torch.tanh(magnitude.double())
    assert ((hidden - expected) / expected).abs().max() < (
        1e-13 if dtype == torch.float64 else 5e-7
    )
