"""Run the Triton kernels on a CPU, in Triton's interpreter."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

if find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)

import triton

CASES = "interpreted_cases.py"
TRITON = tuple(int(part) for part in triton.__version__.split(".")[:2])


@pytest.mark.skipif(
    TRITON < (3, 7) and np.lib.NumpyVersion(np.__version__) >= "2.4.0",
    reason="Triton 3.6 interprets a length as an array of one, which numpy 2.4 makes no int of",
)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("cases", "kernel"),
    [
        (CASES, "scan"),
        (CASES, "convolution"),
        ("interpreted_bi_wkv_cases.py", "bi_wkv"),
        ("interpreted_add_rms_norm_cases.py", "add_rms_norm"),
        ("interpreted_pack_directions_cases.py", "pack_directions"),
        ("interpreted_edge_cell_cases.py", "edge_cell"),
        ("interpreted_launch_cases.py", "launches"),
    ],
)
def test_kernels_agree_with_the_chunked_form_in_the_interpreter(cases, kernel):
    path = Path(__file__).with_name(cases)
    command = [sys.executable, "-m", "pytest", "-q", "-k", f"test_{kernel}", str(path)]
    environment = os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]
    assert " passed" in run.stdout
