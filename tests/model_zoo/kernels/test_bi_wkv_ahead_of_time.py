"""Compile the Triton kernels of Bi-WKV for GPUs that are not here, and look at what came out."""

from importlib.util import find_spec
from typing import Any

import pytest

if find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)

from model_zoo.kernels.bi_wkv import triton as average
from model_zoo.kernels.bi_wkv_matrix import triton as matrix
from tests.model_zoo.kernels.test_triton_ahead_of_time import compiled, registers_and_stack_bytes

FROM_KEYS: dict[str, Any] = {"FROM_KEYS": True, "BLOCK_C": average.BLOCK_CHANNELS}
FROM_PLANES = FROM_KEYS | {"FROM_KEYS": False, "v": None, "largest": None}
READS_COLUMNS = {"READS_ROWS": False, "BLOCK_ROWS": 64, "BLOCK_COLUMNS": matrix.BLOCK_READ}
READS_ROWS = {"READS_ROWS": True, "BLOCK_ROWS": matrix.BLOCK_READ, "BLOCK_COLUMNS": 64, "own": None}
KERNELS: dict[str, tuple[Any, dict[str, Any], int]] = {
    "ends": (average.ends_kernel, FROM_KEYS, average.NUM_WARPS),
    "average": (average.scan_kernel, FROM_KEYS, average.NUM_WARPS),
    "columns": (matrix.scan_kernel, READS_COLUMNS, matrix.NUM_WARPS),
    "rows": (matrix.scan_kernel, READS_ROWS, matrix.NUM_WARPS),
}
OF_PLANES = {
    "ends_of_planes": (average.ends_kernel, FROM_PLANES, average.NUM_WARPS),
    "scan_of_planes": (average.scan_kernel, FROM_PLANES | {"own": None}, average.NUM_WARPS),
}


@pytest.mark.parametrize("narrow", ["bf16", pytest.param("fp32", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile_without_spills(capability, name, narrow, tmp_path, record_property):
    kernel, constants, num_warps = KERNELS[name]
    constants = constants | {"IS_FLOAT64": False}
    binary = compiled(kernel, constants, capability, narrow=narrow, num_warps=num_warps)
    registers, stack_bytes = registers_and_stack_bytes(binary, tmp_path)
    record_property("registers", registers)
    assert stack_bytes == 0


@pytest.mark.parametrize("name", OF_PLANES)
@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_of_the_backward_pass_compile_without_spills(capability, name, tmp_path):
    kernel, constants, num_warps = OF_PLANES[name]
    constants = constants | {"IS_FLOAT64": False}
    binary = compiled(kernel, constants, capability, narrow="fp32", num_warps=num_warps)
    assert registers_and_stack_bytes(binary, tmp_path)[1] == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS | OF_PLANES)
def test_kernels_compile_in_float64(name):
    kernel, constants, num_warps = (KERNELS | OF_PLANES)[name]
    constants = constants | {"IS_FLOAT64": True}
    assert compiled(kernel, constants, 90, narrow="fp64", num_warps=num_warps).asm["cubin"]
