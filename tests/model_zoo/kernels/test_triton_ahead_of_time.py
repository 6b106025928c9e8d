"""Compile the Triton kernels for GPUs that are not here, and look at what came out."""

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

if find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)

import triton
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from model_zoo.kernels.causal_conv1d import triton as convolution
from model_zoo.kernels.selective_scan import triton as scan
from model_zoo.kernels.selective_scan import triton_adjoint as scan_adjoint
from model_zoo.kernels.selective_scan import triton_backward as scan_backward
from model_zoo.kernels.selective_scan.triton_launch import BLOCK_CHANNELS, num_warps_for

CUOBJDUMP = Path(nvidia.__file__).parent / "bin" / "cuobjdump"
WIDE = {
    *("A", "D", "delta_bias", "checkpoints", "scratch", "weight", "bias", "partial", "grad_y"),
    *("grad_A", "grad_B_and_C", "grad_D", "grad_z", "grad_bias"),
    *("ratio", "chunk_ratio", "own", "ends", "elapsed", "after", "decay", "out"),
    *("to_conv_weight", "to_conv_bias", "to_dt_bias", "to_rates", "to_D"),
    *("hidden", "following", "attended", "edges", "cell", "grad_hidden", "grad_cell"),
    *("of_attended", "of_edges", "of_cell"),
    *("residual", "sample_scale", "total", "inverse_rms", "grad_total", "of_sum"),
}
NARROW = {"u", "delta", "B", "C", "z", "y", "x", "grad", "of_directions"} | {
    *("grad_u", "grad_delta", "grad_x"),
    *("k", "v", "largest", "result", "rows", "columns", "query"),
    *("branch", "normed", "grad_normed", "of_branch"),
    *("conv_weight", "conv_bias", "x_weight", "dt_weight", "dt_bias", "A_log"),
    *("conv_weight_b", "conv_bias_b", "x_weight_b", "dt_weight_b", "dt_bias_b", "A_log_b", "D_b"),
    *("to_x_weight", "to_dt_weight"),
    *("receptance", "value", "of_receptance", "of_value"),
}
# Any integer, all else being multiples of 16. B and C are parts of a projection of R + 2 N columns.
UNALIGNED = {
    *("B", "B_g", "B_b", "B_l", "C", "C_g", "C_b", "C_l"),
    *("length", "batch", "offset", "span_tokens", "num_spans"),
    *("num_tokens", "chunk_tokens", "num_heads", "num_rows", "rows_of_sample"),
}
CONVOLUTION = {"REVERSED": 2, "NUM_TAPS": 4, "IS_FLOAT64": False, "BLOCK_L": 32, "BLOCK_E": 64}


def scan_constants(num_states: int, checkpoint_steps: int, *, is_float64: bool) -> dict[str, Any]:
    return {
        "REVERSED": 2,
        "NUM_STATES": num_states,
        "BLOCK_N": triton.next_power_of_2(num_states),
        "BLOCK_E": BLOCK_CHANNELS,
        "SOFTPLUS": True,
        "IS_FLOAT64": is_float64,
        "CHECKPOINT_STEPS": checkpoint_steps,
    }


def compiled(
    kernel: Any, constants: dict[str, Any], capability: int, *, narrow: str, num_warps: int
) -> Any:
    """The kernel for one GPU and type, as `triton.compile` gives it."""
    wide = "fp64" if constants.get("IS_FLOAT64") else "fp32"
    types = dict.fromkeys(WIDE, f"*{wide}") | dict.fromkeys(NARROW, f"*{narrow}")
    constants = {name: value for name, value in constants.items() if name in kernel.arg_names}
    signature = {
        name: "constexpr" if name in constants else types.get(name, "i32")
        for name in kernel.arg_names
    }
    aligned = {
        (index,): [["tt.divisibility", 16]]
        for index, (name, kind) in enumerate(signature.items())
        if kind != "constexpr" and name not in UNALIGNED
    }
    return triton.compile(
        ASTSource(kernel, signature, constants, aligned),
        target=GPUTarget("cuda", capability, 32),
        options={"num_warps": num_warps, "enable_fp_fusion": True},
    )


def registers_and_stack_bytes(binary: Any, folder: Path) -> tuple[int, int]:
    """Of a thread; these kernels keep nothing on the stack but what the registers cannot hold."""
    cubin = folder / "kernel.cubin"
    cubin.write_bytes(binary.asm["cubin"])
    command = [str(CUOBJDUMP), "-res-usage", str(cubin)]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = re.search(r"REG:(\d+) STACK:(\d+)", report)
    assert used is not None, report
    return int(used[1]), int(used[2])


UNSPLIT = {"ends": None, "elapsed": None}
GATED_AFTER = {"z": None}  # as are several directions
SCANS = {
    "scan": (scan.scan_kernel, 0, UNSPLIT | GATED_AFTER),
    "scan_of_one_direction": (scan.scan_kernel, 0, UNSPLIT),
    "scan_for_training": (scan.scan_kernel, 64, UNSPLIT | GATED_AFTER),
    "scan_to_ends": (scan.scan_kernel, 0, GATED_AFTER | {"y": None, "checkpoints": None}),
    "scan_from_ends": (scan.scan_kernel, 64, GATED_AFTER),
    "adjoint_to_ends": (scan_adjoint.adjoint_kernel, 0, {}),
    "backward": (scan_backward.backward_kernel, 64, UNSPLIT),
    "backward_from_ends": (scan_backward.backward_kernel, 64, {}),
}


# VideoMamba-Ti at batch 64 is 1536 warps, 12 of a multiprocessor of an H100, which has 64 K
# registers and gives them out in eights.
REGISTERS_OF_12_WARPS = 168
LARGEST = ("scan_from_ends", "backward_from_ends")
SPILL_CASES = [
    *((name, 16, "bf16") for name in SCANS),
    *(
        pytest.param(name, *case, marks=pytest.mark.slow)
        for name in LARGEST
        for case in ((16, "fp32"), (16, "fp16"), (1, "fp16"), (33, "bf16"), (64, "fp32"))
    ),
]


@pytest.mark.parametrize(("name", "num_states", "narrow"), SPILL_CASES)
@pytest.mark.parametrize("capability", [80, 90])
def test_scans_compile_without_spills(
    capability, name, num_states, narrow, tmp_path, record_property
):
    kernel, checkpoint_steps, absent = SCANS[name]
    constants = scan_constants(num_states, checkpoint_steps, is_float64=False) | absent
    num_warps = num_warps_for(constants["BLOCK_N"], 4)
    if kernel is scan_backward.backward_kernel:
        num_warps = scan_backward.num_warps_for(num_warps)
    binary = compiled(kernel, constants, capability, narrow=narrow, num_warps=num_warps)
    registers, stack_bytes = registers_and_stack_bytes(binary, tmp_path)
    record_property("registers", registers)
    assert stack_bytes == 0
    if capability == 90 and name in ("scan", "scan_for_training"):
        assert registers <= REGISTERS_OF_12_WARPS


@pytest.mark.parametrize("narrow", ["bf16", "fp32"])
@pytest.mark.parametrize("checkpoint_steps", [0, 64])
@pytest.mark.parametrize("capability", [80, 90])
def test_a_step_of_the_scan_is_as_many_exponentials_and_few_loads(
    capability, checkpoint_steps, narrow
):
    constants = scan_constants(16, checkpoint_steps, is_float64=False) | UNSPLIT | GATED_AFTER
    ptx = compiled(scan.scan_kernel, constants, capability, narrow=narrow, num_warps=1).asm["ptx"]
    num_copies = 4 + 1  # of a step: the unrolled loop's, and that of the steps left over
    assert ptx.count("ex2.approx") == num_copies * (16 + 1)  # one a state, one in softplus
    for slow in ("shfl", "ld.local", "div.full", "lg2"):
        assert slow not in ptx
    # u, delta, B, C of the first four steps and of each copy; A (in one thread), D, bias
    assert ptx.count("ld.global") == (4 + num_copies) * 4 + 16 + 2


@pytest.mark.slow
@pytest.mark.parametrize("name", [*LARGEST, "adjoint_to_ends"])
def test_scans_compile_in_float64(name):
    kernel, checkpoint_steps, absent = SCANS[name]
    constants = scan_constants(16, checkpoint_steps, is_float64=True) | absent
    num_warps = scan_backward.num_warps_for(num_warps_for(16, 8))
    assert compiled(kernel, constants, 90, narrow="fp64", num_warps=num_warps).asm["cubin"]


@pytest.mark.parametrize("capability", [80, 90])
def test_the_gate_compiles_without_spills(capability, tmp_path):
    tokens, channels = scan.GATE_BLOCK
    constants = {"NUM_DIRECTIONS": 2, "BLOCK_L": tokens, "BLOCK_E": channels, "IS_FLOAT64": False}
    binary = compiled(scan.gate_kernel, constants, capability, narrow="bf16", num_warps=4)
    assert registers_and_stack_bytes(binary, tmp_path)[1] == 0


@pytest.mark.parametrize("narrow", ["bf16", "fp32"])
@pytest.mark.parametrize(
    ("kernel", "constants"),
    [
        (convolution.convolve_kernel, {"SILU": True, "BLOCK_L": convolution.BLOCK_TOKENS_FORWARD}),
        (convolution.taps_gradient_kernel, {"SILU": True}),
        (convolution.input_gradient_kernel, {"NUM_DIRECTIONS": 2}),
    ],
)
@pytest.mark.parametrize("capability", [80, 90])
def test_convolutions_compile_without_spills(capability, kernel, constants, narrow, tmp_path):
    constants = CONVOLUTION | constants
    binary = compiled(kernel, constants, capability, narrow=narrow, num_warps=4)
    assert registers_and_stack_bytes(binary, tmp_path)[1] == 0
