"""The kernels of the added RMS norm in Triton's interpreter; run by `test_triton_interpreter`."""

import pytest
import torch

from model_zoo.kernels.add_rms_norm import cpu, triton
from tests.model_zoo.kernels.drawing import normal, relative_error, widened
from tests.model_zoo.kernels.interpreted_cases import TOLERANCES
from tests.model_zoo.kernels.test_add_rms_norm import ABSENT, EPS, operands_of


@pytest.fixture(autouse=True)
def few_programs(monkeypatch):
    """So that each takes several blocks of rows."""
    monkeypatch.setattr(triton, "MAX_PROGRAMS", 2)
    monkeypatch.setattr(triton, "BLOCK_ELEMENTS", 64)


@pytest.mark.parametrize("absent", ABSENT)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", [(2, 5, 24), (1, 1, 1), (3, 7), (3, 1, 130)])
def test_add_rms_norm(shape, dtype, absent):
    operands = operands_of(*shape, dtype=dtype) | absent
    exact = widened(operands)
    scale = operands.pop("scale")
    exact.pop("scale")
    ours = triton.forward(*operands.values(), scale=scale, eps=EPS)
    expected = cpu.forward(*exact.values(), scale=scale, eps=EPS)
    assert [x.dtype for x in ours] == [dtype] + 2 * [cpu.accumulator_dtype(dtype)]
    for value, of_exact in zip(ours, expected, strict=True):
        assert value.shape == of_exact.shape
        assert relative_error(value, of_exact) < TOLERANCES[dtype]

    grad = normal(*shape, dtype=dtype, seed=7)
    for of_total in (None, normal(*shape, dtype=ours[1].dtype, seed=8)):
        _, total, inverse = ours
        rest = (operands["weight"], operands["sample_scale"])
        gradients = triton.backward(grad, of_total, total, inverse, *rest, scale=scale)
        trusted = cpu.backward(grad, of_total, total, inverse, *rest, scale=scale)
        for value, of_exact in zip(gradients, trusted, strict=True):
            assert value.shape == of_exact.shape
            assert value.dtype == of_exact.dtype
            assert value.numel() == 0 or relative_error(value, of_exact) < TOLERANCES[dtype]


def test_add_rms_norm_of_one_token_of_each_clip():
    operands = operands_of(3, 5, 8)
    branch, residual = operands["branch"][:, 2], operands["residual"][:, 2]
    assert not branch.is_contiguous()
    ours = triton.forward(branch, residual, operands["weight"], None, scale=1.0, eps=EPS)
    expected = cpu.forward(branch, residual, operands["weight"], None, scale=1.0, eps=EPS)
    for value, of_exact in zip(ours, expected, strict=True):
        torch.testing.assert_close(value, of_exact, rtol=1e-13, atol=1e-13)
