"""Compile what is fused of torch's operators in Mamba blocks and LCR's cell for GPUs not here."""

from importlib.util import find_spec
from typing import Any

import pytest

if find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)

import triton

from model_zoo.kernels.add_rms_norm import triton as add_rms_norm
from model_zoo.kernels.edge_cell import triton as edge_cell
from model_zoo.kernels.pack_directions import triton as pack_directions
from tests.model_zoo.kernels.test_triton_ahead_of_time import compiled, registers_and_stack_bytes

ROWS: dict[str, Any] = {"SCALE": 1.0, "BLOCK_R": 8, "BLOCK_D": 256}


def packing(num_rank: int) -> dict[str, int]:
    return {
        "NUM_TAPS": 4,
        "NUM_ROWS": num_rank + 32,
        "NUM_RANK": num_rank,
        "NUM_STATES": 16,
        "BLOCK_E": pack_directions.BLOCK_CHANNELS,
        "BLOCK_K": 4,
        "BLOCK_M": triton.next_power_of_2(num_rank + 32),
        "BLOCK_R": triton.next_power_of_2(num_rank),
        "BLOCK_N": 16,
    }


KERNELS: dict[str, tuple[Any, dict[str, Any]]] = {
    "add_rms_norm": (add_rms_norm.add_rms_norm_kernel, ROWS | {"EPS": 1e-5, "sample_scale": None}),
    "add_rms_norm_in_training": (add_rms_norm.add_rms_norm_kernel, ROWS | {"EPS": 1e-5}),
    "add_rms_norm_of_the_widest": (
        add_rms_norm.add_rms_norm_kernel,
        {"SCALE": 0.5, "EPS": 1e-5, "BLOCK_R": 2, "BLOCK_D": 1024},
    ),
    "add_rms_norm_backward": (add_rms_norm.gradient_kernel, ROWS),
    "edge_cell": (edge_cell.step_kernel, {"BLOCK": edge_cell.BLOCK}),
    "edge_cell_backward": (edge_cell.gradient_kernel, {"BLOCK": edge_cell.BLOCK}),
    "pack_directions_of_tiny": (pack_directions.pack_kernel, packing(num_rank=12)),
    "pack_directions_of_base": (pack_directions.pack_kernel, packing(num_rank=48)),
}


@pytest.mark.parametrize("narrow", ["bf16", pytest.param("fp32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_without_spills(capability, name, narrow, tmp_path, record_property):
    kernel, constants = KERNELS[name]
    constants = constants | {"IS_FLOAT64": False}
    binary = compiled(kernel, constants, capability, narrow=narrow, num_warps=4)
    registers, stack_bytes = registers_and_stack_bytes(binary, tmp_path)
    record_property("registers", registers)
    assert stack_bytes == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_kernels_compile_in_float64(name):
    kernel, constants = KERNELS[name]
    constants = constants | {"IS_FLOAT64": True}
    assert compiled(kernel, constants, 90, narrow="fp64", num_warps=4).asm["cubin"]
