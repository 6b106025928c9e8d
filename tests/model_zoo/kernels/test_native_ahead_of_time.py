"""Kernels compiled for every instruction set, those included that this processor lacks."""

from dataclasses import replace

import pytest
import torch

from model_zoo.kernels._llvm import INSTRUCTION_SETS, assembly
from model_zoo.kernels.causal_conv1d import native as native_convolution
from model_zoo.kernels.causal_conv1d.native_code import ConvolutionIR
from model_zoo.kernels.selective_scan import native, native_backward
from model_zoo.kernels.selective_scan.native_backward_code import ScanBackwardIR
from model_zoo.kernels.selective_scan.native_code import ScanIR


@pytest.mark.parametrize("level", INSTRUCTION_SETS, ids=lambda level: level.name)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_every_level_compiles_to_code_that_calls_nothing(dtype, level):
    """What LLVM cannot do in a few instructions it calls from libraries that may be absent."""
    if dtype == torch.float16 and not level.has_half:
        level = replace(level, has_half=False)
        dtype = torch.float32  # what float16 is converted to there
    options = {"delta_softplus": True, "is_decaying": True, "is_gated": True}
    scan_kind = native.Scan(level=level, dtype=dtype, num_states=16, **options)
    gradient = native_backward.ScanBackward(
        level=level, dtype=torch.float32, num_states=18, **options
    )
    convolution = native_convolution.Convolution(level=level, dtype=dtype, num_taps=4, silu=True)
    for code in (ScanIR(scan_kind), ScanBackwardIR(gradient), ConvolutionIR(convolution)):
        lines = assembly(code.emit(), level).splitlines()
        instructions = [line.split()[0] for line in lines if line.startswith("\t") and line.strip()]
        assert len(instructions) > 100
        assert not {"bl", "blr", "call", "callq"} & set(instructions)
