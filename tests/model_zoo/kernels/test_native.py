"""Kernels compiled at run time: against float64, as torch's operators, over threads and forks."""

import importlib.util
import math
import random
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import Tensor

from model_zoo import UnsupportedInputError
from model_zoo._registry import Options
from model_zoo.kernels import _llvm, causal_conv1d, selective_scan
from model_zoo.kernels._llvm import InstructionSet
from model_zoo.kernels.causal_conv1d import native as native_convolution
from model_zoo.kernels.selective_scan import cpu, native, reference
from model_zoo.kernels.selective_scan.inputs import ScanInputs
from model_zoo.videomamba import VideoMamba, VideoMambaConfig
from tests.detfill import clip, fill_model
from tests.model_zoo.kernels.drawing import (
    REVERSE,
    normal,
    relative_error,
    scan_operands,
    widened,
)

LEVELS = _llvm.available_instruction_sets()
TOLERANCES = {torch.float32: 2e-6, torch.bfloat16: 1e-2, torch.float16: 1.5e-3}
SIZES = [  # directions, batch, tokens, channels, states
    (1, 1, 1, 1, 1),
    (2, 1, 64, 16, 16),
    (2, 3, 129, 37, 5),
    (4, 2, 65, 3, 33),
    (2, 1, 200, 33, 64),
]
each_level = pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name)


def inputs_of(operands: dict[str, Any], *, delta_softplus: bool = True) -> ScanInputs:
    reverse = REVERSE[: len(operands["u"])]
    return ScanInputs(**operands, delta_softplus=delta_softplus, reverse=reverse)


def scan(operands: dict[str, Any], level: InstructionSet, **options: Any) -> Tensor:
    return native.forward(inputs_of(operands, **options), checkpoint_steps=0, level=level)[0]


def trusted(operands: dict[str, Any], **options: Any) -> Tensor:
    reverse = REVERSE[: len(operands["u"])]
    return reference.selective_scan(**widened(operands), reverse=reverse, **options)


@each_level
@pytest.mark.parametrize("sizes", SIZES)
def test_compiled_code_gives_what_the_loop_gives(sizes, level):
    operands = scan_operands(*sizes, dtype=torch.float32)
    assert relative_error(scan(operands, level), trusted(operands)) < TOLERANCES[torch.float32]


@each_level
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_operands_are_widened_and_the_output_rounded(dtype, level):
    operands = scan_operands(2, 2, 70, 21, 4, dtype=dtype)
    y = scan(operands, level)
    assert y.dtype == dtype
    assert relative_error(y, trusted(operands)) < TOLERANCES[dtype]


@pytest.mark.parametrize("seed", range(12))
def test_any_shape_is_right(seed):
    draw = random.Random(seed)
    sizes = [draw.randint(1, most) for most in (2, 3, 150, 70, 64)]
    operands: dict[str, Any] = scan_operands(*sizes, dtype=torch.float32)
    operands |= {name: None for name in ("D", "z", "delta_bias") if draw.random() < 0.3}
    error = relative_error(scan(operands, LEVELS[0]), trusted(operands))
    assert error < TOLERANCES[torch.float32], sizes


def test_operands_of_several_types_are_computed_in_float32():
    operands = scan_operands(2, 1, 40, 5, 3, dtype=torch.float32)
    operands |= {"u": operands["u"].bfloat16(), "z": operands["z"].half()}
    y = scan(operands, LEVELS[0])
    assert y.dtype == torch.bfloat16
    assert relative_error(y, trusted(operands)) < TOLERANCES[torch.bfloat16]


@each_level
def test_slow_decays_do_not_add_up_errors(level):
    operands = scan_operands(2, 1, 3000, 8, 4, dtype=torch.float32)
    operands["delta_bias"] -= 6  # a memory of some thousand steps
    assert relative_error(scan(operands, level), trusted(operands)) < 1e-5


@each_level
@pytest.mark.parametrize("shift", [-1e4, -90.0, 19.9, 90.0, 1e4])
def test_extreme_step_sizes_stay_finite_and_right(shift, level):
    operands = scan_operands(2, 1, 40, 19, 4, dtype=torch.float32)
    operands["delta"] += shift
    y = scan(operands, level)
    assert y.isfinite().all()
    assert relative_error(y, trusted(operands)) < TOLERANCES[torch.float32]


@each_level
def test_states_that_grow_do_so_to_infinity(level):
    operands = scan_operands(1, 1, 3, 20, 2, dtype=torch.float32)
    operands |= {"A": -operands["A"], "delta": 12 * operands["delta"].abs()}
    y = scan(operands, level)
    expected, _ = cpu.forward(inputs_of(operands), checkpoint_steps=0)  # overflows on the way too
    assert torch.equal(y.isfinite(), expected.isfinite())
    assert not y.isfinite().all()
    finite = y.isfinite() & (expected.abs() > 1e-3)
    assert finite.any()
    assert (y[finite] / expected[finite] - 1).abs().max() < 1e-4


@each_level
def test_softplus_is_accurate_for_small_results_too(level):
    delta = torch.linspace(-80, 80, 1601)
    steps = _one_step(delta, level, delta_softplus=True)
    expected = torch.nn.functional.softplus(delta.double())
    assert (steps / expected - 1).abs().max() < 1e-5


@each_level
def test_a_decay_is_accurate_and_exact_at_its_ends(level):
    """The first step writes 1 into the state, the second one multiplies it by e^-delta."""
    exponents = torch.cat((torch.linspace(-85, 85, 1701), torch.tensor([0.0, -1e30, 1e30])))
    ones = torch.ones(1, 1, 2, len(exponents))
    operands = {
        "u": torch.stack((ones[0, 0, 0], 0 * exponents)).expand_as(ones),
        "delta": torch.stack((ones[0, 0, 0], -exponents)).expand_as(ones),
        "A": -ones[0, :, 0].unsqueeze(2),
        "B": ones[..., :1],
        "C": ones[..., :1],
        "D": None,
        "z": None,
        "delta_bias": None,
    }
    decays = scan(operands, level, delta_softplus=False)[0, 1]
    assert (decays[:-3] / exponents[:-3].double().exp() - 1).abs().max() < 1e-5
    assert decays[-3:].tolist() == [1, 0, math.inf]


def _one_step(delta: Tensor, level: InstructionSet, *, delta_softplus: bool) -> Tensor:
    """The step sizes themselves: what one token writes into a state and reads from it."""
    ones = torch.ones(1, 1, 1, len(delta))
    operands = {
        "u": ones,
        "delta": delta.view_as(ones),
        "A": -ones[0].transpose(1, 2),
        "B": ones[..., :1],
        "C": ones[..., :1],
        "D": None,
        "z": None,
        "delta_bias": None,
    }
    return scan(operands, level, delta_softplus=delta_softplus).flatten()


@each_level
@pytest.mark.parametrize("name", ["u", "delta", "z", "B"])
def test_what_is_not_a_number_is_not_hidden(name, level):
    operands = scan_operands(1, 1, 10, 16, 4, dtype=torch.float32)
    operands[name][..., 3, 2] = math.nan
    assert torch.equal(scan(operands, level).isnan(), trusted(operands).isnan())


def test_strided_operands_give_the_same_bits():
    operands = scan_operands(2, 2, 37, 20, 4, dtype=torch.float32)
    strided = operands | {
        "u": operands["u"].transpose(0, 1).contiguous().transpose(0, 1),
        "delta": operands["delta"].transpose(2, 3).contiguous().transpose(2, 3),
        "A": operands["A"].transpose(1, 2).contiguous().transpose(1, 2),
        "B": torch.cat((operands["C"], operands["B"]), dim=-1)[..., 4:],
        "C": torch.cat((operands["C"], operands["B"]), dim=-1)[..., :4],
        "z": torch.cat((operands["u"][0], operands["z"]), dim=-1)[..., 20:],
    }
    assert torch.equal(scan(strided, LEVELS[0]), scan(operands, LEVELS[0]))


@pytest.mark.parametrize("checkpoint_steps", [64, 48])
def test_checkpoints_are_those_of_the_chunks(checkpoint_steps):
    inputs = inputs_of(scan_operands(2, 2, 130, 21, 5, dtype=torch.float32))
    _, ours = native.forward(inputs, checkpoint_steps=checkpoint_steps, level=LEVELS[0])
    _, expected = cpu.forward(inputs, checkpoint_steps=checkpoint_steps)
    assert ours.shape == expected.shape
    assert relative_error(ours, expected) < TOLERANCES[torch.float32]


@pytest.fixture
def forwards(monkeypatch) -> list[str]:
    """The compiled kernels that have run, with the instruction set that a user would get."""
    monkeypatch.delenv("MODEL_ZOO_NATIVE", raising=False)
    ran = []
    for module in (native, native_convolution):

        def forward(*arguments: Any, module=module, forward=module.forward, **options: Any):
            ran.append(module.__name__)
            return forward(*arguments, **options)

        monkeypatch.setattr(module, "forward", forward)
    return ran


def test_the_number_of_threads_does_not_change_a_bit(num_threads):
    operands = scan_operands(2, 3, 300, 150, 16, dtype=torch.float32)
    num_threads(2)
    on_two = scan(operands, LEVELS[0])
    num_threads(1)
    assert torch.equal(scan(operands, LEVELS[0]), on_two)


def test_a_forked_process_runs_what_its_parent_compiled_and_more():
    # the child compares bytes, since torch's own threads do not survive a fork
    program = """
import os
import torch
from tests.model_zoo.kernels.drawing import scan_operands
from model_zoo.kernels.selective_scan import implementation, selective_scan
torch.set_num_threads(2)
assert implementation("cpu").startswith("native")
operands = scan_operands(2, 2, 300, 150, 16, dtype=torch.float32)
few_states = scan_operands(2, 2, 300, 150, 3, dtype=torch.float32)
scan = lambda operands: selective_scan(**operands, reverse=(False, True)).numpy().tobytes()
expected = scan(operands)
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    os.write(writer, bytes([scan(operands) == expected]) + scan(few_states)[:4096])
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert os.read(reader, 8192) == bytes([True]) + scan(few_states)[:4096]
assert scan(operands) == expected
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_what_runs_has_a_name(monkeypatch):
    monkeypatch.delenv("MODEL_ZOO_NATIVE", raising=False)
    names = [package.implementation("cpu") for package in (selective_scan, causal_conv1d)]
    assert names == [f"native ({LEVELS[0].name})"] * 2
    monkeypatch.setenv("MODEL_ZOO_NATIVE", LEVELS[-1].name)
    assert selective_scan.implementation("cpu") == f"native ({LEVELS[-1].name})"
    monkeypatch.setenv("MODEL_ZOO_NATIVE", "off")
    assert selective_scan.implementation("cpu") == "chunked"
    assert selective_scan.implementation("meta") == "chunked"


def test_an_unknown_choice_is_an_error(monkeypatch):
    monkeypatch.setenv("MODEL_ZOO_NATIVE", "avx1024")
    with pytest.raises(UnsupportedInputError, match=r"one of off, avx512.*got: avx1024"):
        selective_scan.implementation("cpu")


def test_without_llvmlite_the_chunks_run(forwards, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "llvmlite" else find(name)
    )
    _llvm.available_instruction_sets.cache_clear()
    try:
        operands: dict[str, Any] = scan_operands(2, 1, 70, 9, 4, dtype=torch.float32)
        assert selective_scan.implementation("cpu") == "chunked"
        y = selective_scan.selective_scan(**operands, reverse=(False, True))
    finally:
        _llvm.available_instruction_sets.cache_clear()
    assert torch.equal(y, cpu.forward(inputs_of(operands), checkpoint_steps=0)[0])
    assert not forwards


def test_float64_is_left_to_the_chunks(forwards):
    operands: dict[str, Any] = scan_operands(2, 1, 70, 9, 4)
    y = selective_scan.selective_scan(**operands, reverse=(False, True))
    assert torch.equal(y, cpu.forward(inputs_of(operands), checkpoint_steps=0)[0])
    x, weight = normal(1, 9, 4), normal(1, 4, 3)
    causal_conv1d.causal_conv1d(x, weight, reverse=(False,))
    assert not forwards


def test_a_model_in_float32_gives_the_logits_of_float64(forwards):
    options = Options(num_frames=4, height_px=32, width_px=32, num_classes=5)
    model = VideoMamba(VideoMambaConfig(dim=40, depth=2), options)
    fill_model(model)
    clips = clip((2, 3, 4, 32, 32))
    with torch.inference_mode():
        expected = model(clips)
        assert not forwards
        logits = model.float()(clips.float())
    assert len(forwards) == 4
    assert relative_error(logits, expected) < 1e-5
