"""The Triton kernels of Bi-WKV in Triton's interpreter; run by `test_triton_interpreter`."""

import pytest
import torch
from torch import Tensor

from model_zoo.kernels.bi_wkv import cpu, triton
from model_zoo.kernels.bi_wkv_matrix import cpu as matrix_cpu
from model_zoo.kernels.bi_wkv_matrix import triton as matrix_triton
from tests.model_zoo.kernels.drawing import normal, relative_error
from tests.model_zoo.kernels.interpreted_cases import TOLERANCES
from tests.model_zoo.kernels.test_bi_wkv import CHANNEL, MATRIX


def assert_agree(ours: tuple[Tensor, ...], exact: tuple[Tensor, ...], dtype: torch.dtype) -> None:
    assert [x.shape for x in ours] == [x.shape for x in exact]
    # one scale for all, as the gradient of the decay is 0 where no token is two away
    scale = max(x.abs().max().item() for x in exact)
    for value, of_exact in zip(ours, exact, strict=True):
        assert (value.double() - of_exact).abs().max().item() < TOLERANCES[dtype] * scale


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("sizes", [(1, 1, 1), (2, 35, 3), (1, 50, 33)])
def test_bi_wkv(sizes, dtype):
    operands = CHANNEL.operands(*sizes, dtype=dtype)
    exact = [x.double() for x in operands]
    y, grad = triton.forward(*operands), normal(*sizes, dtype=dtype, seed=7)
    assert y.dtype == dtype
    assert relative_error(y, cpu.forward(*exact)) < TOLERANCES[dtype]
    ours = triton.backward(grad, *operands)
    assert_agree(ours, cpu.backward(grad.double(), *exact), dtype)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (2, 7, 3, 5), (1, 9, 1, 33)])
def test_bi_wkv_matrix(sizes, dtype):
    operands = MATRIX.operands(*sizes, dtype=dtype)
    exact = [x.double() for x in operands]
    y, grad = matrix_triton.forward(*operands), normal(*sizes, dtype=dtype, seed=7)
    assert y.dtype == dtype
    assert relative_error(y, matrix_cpu.forward(*exact)) < TOLERANCES[dtype]
    ours = matrix_triton.backward(grad, *operands)
    assert [x.dtype for x in ours] == [x.dtype for x in operands]
    assert_agree(ours, matrix_cpu.backward(grad.double(), *exact), dtype)


def test_bi_wkv_matrix_of_strided_operands():
    r, k, v, log_decay, bonus = MATRIX.operands(2, 5, 2, 4)
    by_head = [x.transpose(1, 2).contiguous().transpose(1, 2) for x in (r, k)]
    half = torch.cat((v, v), dim=-1)[..., 4:]
    y = matrix_triton.forward(by_head[0], by_head[1], half, log_decay, bonus)
    assert relative_error(y, matrix_cpu.forward(r, k, v, log_decay, bonus)) < 1e-13
