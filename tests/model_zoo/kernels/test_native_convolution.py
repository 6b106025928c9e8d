"""The compiled causal convolution against its float64 reference."""

import pytest
import torch

from model_zoo.kernels._llvm import available_instruction_sets
from model_zoo.kernels.causal_conv1d import native, reference
from tests.model_zoo.kernels.drawing import REVERSE, normal, relative_error

TOLERANCES = {torch.float32: 1e-6, torch.bfloat16: 4e-3, torch.float16: 5e-4}
each_level = pytest.mark.parametrize(
    "level", available_instruction_sets(), ids=lambda level: level.name
)


@each_level
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (2, 2, 3, 5, 4), (4, 1, 130, 33, 7)])
def test_the_convolution_gives_what_flips_and_padding_give(sizes, dtype, level):
    num_directions, batch, length, channels, num_taps = sizes
    reverse = REVERSE[:num_directions]
    x = normal(batch, length, 2 * channels, dtype=dtype, seed=1)[..., :channels]
    weight = normal(num_directions, channels, num_taps, dtype=dtype, seed=2)
    bias = normal(num_directions, channels, dtype=dtype, seed=3)
    for silu, shift in ((True, bias), (False, None)):
        wide = (x.double(), weight.double(), None if shift is None else shift.double())
        y = native.forward(x, weight, shift, reverse=reverse, silu=silu, level=level)
        expected = reference.causal_conv1d(*wide, reverse=reverse, silu=silu)
        assert y.dtype == dtype
        assert relative_error(y, expected) < TOLERANCES[dtype]
