"""The packing kernel in Triton's interpreter; run by `test_triton_interpreter`."""

import pytest
import torch

from model_zoo.kernels.pack_directions import cpu, triton
from tests.model_zoo.kernels.drawing import relative_error
from tests.model_zoo.kernels.interpreted_cases import TOLERANCES
from tests.model_zoo.kernels.test_pack_directions import SIZES, directions


@pytest.mark.parametrize(
    ("dtype", "parameters"),
    [
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.bfloat16, torch.bfloat16),
        (torch.float16, torch.float32),
    ],
)
@pytest.mark.parametrize("sizes", SIZES)
def test_pack_directions(sizes, dtype, parameters):
    given = directions(*sizes, dtype=parameters)
    tolerance = max(TOLERANCES[dtype], TOLERANCES[parameters])
    packed, expected = triton.pack(*given, dtype), cpu.pack(*given, dtype)
    for operand, trusted in zip(packed, expected, strict=True):
        assert operand.shape == trusted.shape
        assert operand.dtype == trusted.dtype
        assert relative_error(operand, trusted) < tolerance
