"""What is fused around scan and convolution, on CUDA against float64 on the CPU: `make gpu`."""

from typing import Any

import pytest
import torch
from torch import Tensor

from model_zoo.kernels import add_rms_norm, edge_cell, pack_directions
from tests.gpu.test_kernels import BACKWARD, DEVICE, FORWARD, assert_same_as_in_float64
from tests.model_zoo.kernels.drawing import normal, relative_error
from tests.model_zoo.kernels.test_add_rms_norm import EPS
from tests.model_zoo.kernels.test_add_rms_norm import operands_of as addends
from tests.model_zoo.kernels.test_edge_cell import operands_of as states
from tests.model_zoo.kernels.test_pack_directions import SIZES, directions
from vbench.core.types import Case, ClipSpec
from vbench.measure import step_trace, subject

pytestmark = pytest.mark.gpu


def test_the_compiled_kernels_are_the_ones_that_run():
    modules = (add_rms_norm, edge_cell, pack_directions)
    assert {module.implementation(DEVICE) for module in modules} == {"triton"}


@pytest.mark.parametrize("has_residual", [True, False])
@pytest.mark.parametrize("dtype", FORWARD)
@pytest.mark.parametrize("shape", [(2, 1569, 192), (3, 7, 577), (1, 1, 1)])
def test_add_rms_norm(shape, dtype, has_residual):
    operands = addends(*shape, dtype=dtype)
    kept, scale = operands.pop("sample_scale"), operands.pop("scale")
    if not has_residual:
        del operands["residual"]

    def both(branch: Tensor, weight: Tensor, residual: Tensor | None = None) -> Tensor:
        """Norm and sum in one tensor, so that each has a gradient."""
        of_samples = kept.to(branch.device)
        normed, total = add_rms_norm.add_rms_norm(
            branch, residual, weight, sample_scale=of_samples, scale=scale, eps=EPS
        )
        return torch.cat((normed.to(total.dtype), total))

    assert_same_as_in_float64(both, operands, dtype)


@pytest.mark.parametrize("dtype", FORWARD)
@pytest.mark.parametrize("shape", [(2, 226, 192), (1, 1, 1), (3, 7, 130)])
def test_edge_cell(shape, dtype):
    operands = states(*shape, dtype=dtype)

    def both(**given: Tensor) -> Tensor:
        return torch.cat(edge_cell.edge_cell(**given))

    assert_same_as_in_float64(both, operands, dtype)


@pytest.mark.parametrize("dtype", FORWARD)
@pytest.mark.parametrize("sizes", [*SIZES, (384, 4, 12, 16), (1536, 4, 48, 16)])
def test_pack_directions(sizes, dtype):
    given = directions(*sizes, dtype=torch.float32)
    on_gpu = (pack_directions.Direction(*(x.to(DEVICE) for x in each)) for each in given)
    forward, backward = on_gpu
    ours = pack_directions.pack_directions(forward, backward, dtype)
    expected = pack_directions.pack_directions(*given, dtype)
    for operand, trusted in zip(ours, expected, strict=True):
        assert operand.dtype == trusted.dtype
        assert relative_error(operand.cpu(), trusted) < FORWARD[torch.float32]


@pytest.mark.parametrize("dtype", FORWARD)
def test_a_block_in_training_is_the_cpus(dtype):
    from model_zoo.layers.bimamba import Block

    torch.manual_seed(0)
    on_cpu = Block(192, 0.0).train().double()
    on_gpu = Block(192, 0.0).train()
    on_gpu.load_state_dict(on_cpu.state_dict())
    on_gpu = on_gpu.to(DEVICE, dtype)
    branch, residual = normal(2, 333, 192, dtype=dtype, seed=1), normal(2, 333, 192, seed=2)
    output, total = on_gpu(branch.to(DEVICE), residual.to(DEVICE, torch.float32))
    expected, exact_total = on_cpu(branch.double(), residual)
    assert relative_error(output.cpu(), expected) < 2 * FORWARD[dtype]
    assert relative_error(total.cpu(), exact_total) < 1e-6
    grad = normal(*expected.shape, seed=3)
    output.backward(grad.to(DEVICE, dtype))
    expected.backward(grad)
    for (name, ours), exact in zip(on_gpu.named_parameters(), on_cpu.parameters(), strict=True):
        assert ours.grad is not None
        assert exact.grad is not None
        error = relative_error(ours.grad.cpu(), exact.grad)
        assert error < 2 * BACKWARD[dtype], f"gradient of {name} is off by {error:.2g}"


@pytest.mark.parametrize(("autocast", "of_a_block"), [(False, 10), (True, 12)])
def test_a_block_of_videomamba_takes_about_nine_launches(autocast, of_a_block):
    options: dict[str, Any] = {"precision": "bf16", "autocast": autocast, "device": "cuda:0"}
    case = Case(model="videomamba_tiny", clip=ClipSpec(num_frames=8), batch_size=1, **options)
    step = subject.build(case, 1).step
    step()
    trace = step_trace.profile(step, device_type="cuda", synchronize=torch.cuda.synchronize)
    around_the_blocks = 30
    assert trace.num_launches is not None
    assert trace.num_launches <= 24 * of_a_block + around_the_blocks
