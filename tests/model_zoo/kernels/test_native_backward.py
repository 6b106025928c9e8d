"""Compiled gradients of the selective scan: against float64, over threads, and their substitute."""

import math
import random
from typing import Any

import pytest
import torch
from torch import Tensor

from model_zoo.kernels import forms
from model_zoo.kernels.selective_scan import native_backward, reference, selective_scan
from tests.model_zoo.kernels.drawing import (
    REVERSE,
    normal,
    relative_error,
    scan_operands,
    widened,
)
from tests.model_zoo.kernels.test_native import LEVELS, TOLERANCES

SIZES = [  # directions, batch, tokens, channels, states
    (1, 1, 1, 1, 1),
    (2, 1, 64, 16, 16),
    (2, 3, 129, 37, 5),
    (4, 2, 65, 3, 33),
    (2, 1, 200, 401, 7),
]


@pytest.fixture(params=LEVELS, ids=lambda level: level.name)
def each_level(request, monkeypatch) -> str:
    monkeypatch.setenv("MODEL_ZOO_NATIVE", request.param.name)
    return f"native ({request.param.name})"


@pytest.fixture
def best_level(monkeypatch) -> None:
    monkeypatch.setenv("MODEL_ZOO_NATIVE", LEVELS[0].name)


def leaves_of(operands: dict[str, Any]) -> dict[str, Any]:
    return {k: x if x is None else x.detach().requires_grad_() for k, x in operands.items()}


def gradients(operands: dict[str, Any], grad: Tensor, **options: Any) -> tuple[Tensor, ...]:
    leaves = leaves_of(operands)
    reverse = REVERSE[: len(operands["u"])]
    y = selective_scan(**leaves, reverse=reverse, **options)
    return torch.autograd.grad(y, [x for x in leaves.values() if x is not None], grad)


def trusted(operands: dict[str, Any], grad: Tensor, **options: Any) -> tuple[Tensor, ...]:
    leaves = leaves_of(widened(operands))
    reverse = REVERSE[: len(operands["u"])]
    y = reference.selective_scan(**leaves, reverse=reverse, **options)
    return torch.autograd.grad(y, [x for x in leaves.values() if x is not None], grad.double())


def largest_error(operands: dict[str, Any], dtype: torch.dtype = torch.float32, **options: Any):
    grad = normal(*operands["u"].shape[1:], seed=9).to(dtype)
    ours, expected = gradients(operands, grad, **options), trusted(operands, grad, **options)
    return max(map(relative_error, ours, expected))


@pytest.mark.parametrize("sizes", SIZES)
def test_gradients_are_those_of_the_loop(sizes, each_level):
    forms.forget()
    operands = scan_operands(*sizes, dtype=torch.float32)
    assert largest_error(operands) < TOLERANCES[torch.float32]
    assert forms.that_ran()["selective_scan_backward"] == each_level


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_gradients_have_the_types_of_their_operands(dtype, each_level):
    operands = scan_operands(2, 2, 70, 21, 4, dtype=dtype)
    ours = gradients(operands, normal(2, 70, 21, dtype=dtype))
    assert [x.dtype for x in ours] == [x.dtype for x in operands.values()]
    assert largest_error(operands, dtype) < TOLERANCES[dtype]


@pytest.mark.parametrize("seed", range(12))
def test_any_shape_is_right(seed, best_level):
    draw = random.Random(seed)
    sizes = [draw.randint(1, most) for most in (2, 3, 150, 70, 64)]
    operands: dict[str, Any] = scan_operands(*sizes, dtype=torch.float32)
    operands |= {name: None for name in ("D", "z", "delta_bias") if draw.random() < 0.3}
    assert largest_error(operands) < 2 * TOLERANCES[torch.float32], sizes


def test_step_sizes_may_come_without_softplus(each_level):
    operands = scan_operands(2, 2, 70, 19, 4, dtype=torch.float32)
    operands |= {"delta": operands["delta"].abs(), "delta_bias": operands["delta_bias"].abs()}
    assert largest_error(operands, delta_softplus=False) < TOLERANCES[torch.float32]


@pytest.mark.parametrize("shift", [-90.0, 19.9, 90.0])
def test_extreme_step_sizes_stay_finite_and_right(shift, each_level):
    operands = scan_operands(2, 1, 70, 19, 4, dtype=torch.float32)
    operands["delta"] += shift
    grad = normal(1, 70, 19, dtype=torch.float32)
    ours, expected = gradients(operands, grad), trusted(operands, grad)
    assert all(x.isfinite().all() for x in ours)
    for found, wanted in zip(ours, expected, strict=True):
        # those of what is all but shut off lie below what float32 can hold
        tolerance = 4e-6 * wanted.abs().max() + 1e-30
        assert (found - wanted).abs().max() < tolerance


def test_slow_decays_do_not_add_up_errors(each_level):
    operands = scan_operands(2, 1, 1000, 8, 4, dtype=torch.float32)
    operands["delta_bias"] -= 6  # a memory of some thousand steps
    assert largest_error(operands) < 1e-5


def test_strided_operands_and_gradients_give_the_same_bits(best_level):
    operands = scan_operands(2, 2, 70, 20, 4, dtype=torch.float32)
    strided = operands | {
        "u": operands["u"].transpose(0, 1).contiguous().transpose(0, 1),
        "delta": operands["delta"].transpose(2, 3).contiguous().transpose(2, 3),
        "C": torch.cat((operands["C"], operands["B"]), dim=-1)[..., :4],
        "z": torch.cat((operands["u"][0], operands["z"]), dim=-1)[..., 20:],
    }
    grad = normal(2, 70, 20, dtype=torch.float32)
    ours = gradients(strided, grad.transpose(1, 2).contiguous().transpose(1, 2))
    assert all(map(torch.equal, ours, gradients(operands, grad)))


def test_the_gradient_of_a_sum_needs_no_memory_of_its_own(best_level):
    operands = scan_operands(2, 2, 70, 20, 4, dtype=torch.float32)
    one = torch.ones(())
    ours = gradients(operands, one.expand(2, 70, 20))
    assert all(map(torch.equal, ours, gradients(operands, torch.ones(2, 70, 20))))


def test_what_is_not_a_number_stays_in_its_channel(best_level):
    operands = scan_operands(1, 1, 70, 19, 4, dtype=torch.float32)
    operands["u"][..., 3, 2] = math.nan
    of_u, of_delta, *_ = gradients(operands, normal(1, 70, 19, dtype=torch.float32))
    assert of_delta[..., 3, 2].isnan().all()
    others = torch.arange(19) != 2
    assert of_u[..., others].isfinite().all()
    assert of_delta[..., others].isfinite().all()


def test_the_number_of_threads_does_not_change_a_bit(num_threads, best_level):
    operands = scan_operands(2, 3, 130, 401, 6, dtype=torch.float32)
    grad = normal(3, 130, 401, dtype=torch.float32)
    num_threads(1)
    on_one = gradients(operands, grad)
    num_threads(3)
    assert all(map(torch.equal, on_one, gradients(operands, grad)))


@pytest.mark.parametrize("checkpoint_steps", [16, 48, 1000])
def test_other_checkpoints_are_left_to_the_chunks(checkpoint_steps, best_level):
    operands = scan_operands(2, 1, 130, 21, 5, dtype=torch.float32)
    options = {"delta_softplus": True, "reverse": [False, True]}
    grad = normal(1, 130, 21, dtype=torch.float32)

    def of(steps: int) -> tuple[Tensor, ...]:
        every = {**options, "checkpoint_steps": steps}
        _, checkpoints = torch.ops.model_zoo.selective_scan(*operands.values(), **every)
        results: tuple[Tensor, ...] = torch.ops.model_zoo.selective_scan_backward(
            grad, *operands.values(), checkpoints, **every
        )
        return results

    ours = of(checkpoint_steps)
    assert forms.that_ran()["selective_scan_backward"] == "chunked"
    expected = of(64)
    assert forms.that_ran()["selective_scan_backward"] == f"native ({LEVELS[0].name})"
    assert max(map(relative_error, ours, expected)) < 4e-6


def test_float64_and_a_refusal_are_left_to_the_chunks(monkeypatch, best_level):
    def fail(*_: Any, **__: Any) -> None:
        raise AssertionError("machine code has run")

    monkeypatch.setattr(native_backward, "backward", fail)
    gradients(scan_operands(2, 1, 70, 9, 4), normal(1, 70, 9))
    assert forms.that_ran()["selective_scan_backward"] == "chunked"
    monkeypatch.setenv("MODEL_ZOO_NATIVE", "off")
    narrow = scan_operands(2, 1, 70, 9, 4, dtype=torch.float32)
    gradients(narrow, normal(1, 70, 9, dtype=torch.float32))
    assert forms.that_ran()["selective_scan_backward"] == "chunked"


def test_torch_accepts_the_operator(best_level):
    operands = scan_operands(2, 2, 9, 3, 2, dtype=torch.float32)
    options = {"delta_softplus": True, "reverse": [False, True], "checkpoint_steps": 64}
    _, checkpoints = torch.ops.model_zoo.selective_scan(*operands.values(), **options)
    grad = normal(2, 9, 3, dtype=torch.float32)
    torch.library.opcheck(
        torch.ops.model_zoo.selective_scan_backward.default,
        (grad, *operands.values(), checkpoints),
        options,
    )
