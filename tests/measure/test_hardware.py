import subprocess
import sys

import pytest

from vbench.core.errors import UsageError
from vbench.measure import hardware


def test_an_exact_name_gives_datasheet_figures_in_base_units():
    gpu = hardware.find("NVIDIA H100 80GB HBM3")
    assert gpu is not None
    assert gpu.memory_bytes == 81559 * 2**20
    assert gpu.bandwidth_bytes_per_s == 3.35e12
    assert gpu.peak_flops_per_s("bf16") == pytest.approx(989.4e12)
    assert gpu.peak_flops_per_s("tf32") == pytest.approx(494.7e12)
    assert gpu.peak_flops_per_s("fp32") == pytest.approx(66.9e12)
    assert gpu.special_functions_per_s == pytest.approx(132 * 16 * 1.98e9, rel=1e-3)


@pytest.mark.parametrize("part", ["H100", "NVIDIA H100", "nvidia h100 80gb hbm3", "A100", ""])
def test_a_part_of_a_name_is_never_taken_for_the_whole(part):
    assert hardware.find(part) is None
    with pytest.raises(UsageError):
        hardware.named(part)


def test_an_unknown_gpu_is_refused_with_near_names():
    with pytest.raises(UsageError, match="unknown GPU: H100") as caught:
        hardware.named("H100")
    assert caught.value.hint is not None
    assert "NVIDIA H100 80GB HBM3" in caught.value.hint
    assert "NVIDIA H100 PCIe" in caught.value.hint
    assert "Tesla T4" not in caught.value.hint


def test_without_a_name_the_default_is_meant():
    assert hardware.named(None).name == hardware.DEFAULT_GPU


@pytest.mark.parametrize("name", hardware.known())
def test_every_row_is_sourced_and_plausible(name):
    gpu = hardware.named(name)
    assert gpu.source
    peaks = [gpu.fp32_flops_per_s, gpu.tf32_flops_per_s, gpu.bf16_flops_per_s, gpu.fp16_flops_per_s]
    present = [peak for peak in peaks if peak is not None]
    assert present == sorted(present)
    assert 1e12 < gpu.fp32_flops_per_s < 1e15
    assert 1e11 < gpu.bandwidth_bytes_per_s < 1e13
    # The fp32 peak is the vector units' at boost clock: 64 or 128 lanes a multiprocessor
    lanes = gpu.fp32_flops_per_s / (gpu.special_functions_per_s / 16) / 2
    assert lanes == pytest.approx(64, rel=0.03) or lanes == pytest.approx(128, rel=0.03)


def test_cards_before_ampere_have_no_bf16_or_tf32():
    gpu = hardware.named("Tesla V100-SXM2-16GB")
    assert gpu.peak_flops_per_s("bf16") is None
    assert gpu.peak_flops_per_s("tf32") is None
    assert gpu.peak_flops_per_s("fp16") == 125e12


def test_looking_up_a_gpu_loads_no_torch():
    code = (
        "import sys; from vbench.measure import hardware; hardware.find('Tesla T4');"
        "raise SystemExit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
