"""The added RMS norm against its float64 reference, and as an operator among torch's own."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from model_zoo import UnsupportedInputError
from model_zoo.kernels import add_rms_norm as package
from model_zoo.kernels.add_rms_norm import add_rms_norm, reference
from tests.model_zoo.kernels.drawing import normal, relative_error, widened

TOLERANCES = {
    torch.float64: 1e-14,
    torch.float32: 1e-6,
    torch.bfloat16: 4e-3,
    torch.float16: 5e-4,
}
EPS = 1e-5
SHAPES = [(2, 5, 24), (1, 1, 1), (3, 7), (2, 3, 4, 192)]
ABSENT: list[dict[str, Any]] = [
    {},
    {"residual": None},
    {"sample_scale": None, "scale": 1.0},
    {"sample_scale": None},
    {"residual": None, "sample_scale": None, "scale": 1.0},
]


def operands_of(*shape: int, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """The residual and the samples' scale are wide, as in the model; a half is exact."""
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    return {
        "branch": normal(*shape, dtype=dtype, seed=1),
        "residual": normal(*shape, dtype=wide, seed=2),
        "weight": normal(shape[-1], dtype=dtype, seed=3),
        "sample_scale": 1.25 * (normal(shape[0], dtype=wide, seed=4) > -0.5).to(wide),
        "scale": 0.5,
    }


def leaves_of(operands: dict[str, Any]) -> list[Tensor]:
    names = ("branch", "residual", "weight")
    return [operands[name].requires_grad_() for name in names if operands[name] is not None]


@pytest.mark.parametrize("absent", ABSENT)
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("shape", SHAPES)
def test_results_are_those_of_the_reference(shape, dtype, absent):
    operands = operands_of(*shape, dtype=dtype) | absent
    normed, total = add_rms_norm(**operands, eps=EPS)
    expected = reference.add_rms_norm(**widened(operands), eps=EPS)
    assert normed.dtype == dtype
    assert total.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert relative_error(normed, expected[0]) < TOLERANCES[dtype]
    assert relative_error(total, expected[1]) < min(TOLERANCES[dtype], 1e-6)


@pytest.mark.parametrize("used", ["both", "normed", "total"])
@pytest.mark.parametrize("absent", ABSENT)
@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_are_those_of_the_reference(shape, absent, used):
    operands = operands_of(*shape) | absent
    leaves = leaves_of(operands)

    def gradients(function: Any) -> tuple[Tensor, ...]:
        normed, total = function(**operands, eps=EPS)
        of_normed, of_total = (normed * normal(*shape, seed=8)), (total * normal(*shape, seed=9))
        losses = {"both": of_normed + of_total, "normed": of_normed, "total": of_total}
        return torch.autograd.grad(losses[used].sum(), leaves, materialize_grads=True)

    for ours, theirs in zip(
        gradients(add_rms_norm), gradients(reference.add_rms_norm), strict=True
    ):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() < 1e-13 * max(1.0, float(theirs.abs().max()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_gradients_have_the_types_of_the_operands(dtype):
    operands = operands_of(2, 5, 24, dtype=dtype)
    leaves = leaves_of(operands)
    normed, total = add_rms_norm(**operands, eps=EPS)
    gradients = torch.autograd.grad(normed.float().sum() + total.sum(), leaves)
    assert [x.dtype for x in gradients] == [x.dtype for x in leaves]


def test_operands_may_be_one_token_of_each_clip():
    tokens = operands_of(3, 5, 8)
    strided: dict[str, Any] = tokens | {name: tokens[name][:, 2] for name in ("branch", "residual")}
    dense: dict[str, Any] = {
        k: v.contiguous() if isinstance(v, Tensor) else v for k, v in strided.items()
    }
    for ours, expected in zip(
        add_rms_norm(**strided, eps=EPS), add_rms_norm(**dense, eps=EPS), strict=True
    ):
        assert torch.equal(ours, expected)


def test_the_sum_is_not_rounded_on_its_way():
    residual = torch.full((1, 1, 4), 256.0)
    branch = torch.full((1, 1, 4), 0.5, dtype=torch.bfloat16)
    _, total = add_rms_norm(branch, residual, torch.ones(4), eps=EPS)
    assert total.tolist() == [[[256.5] * 4]]


def test_operands_are_left_as_they_are():
    operands = operands_of(2, 5, 24) | {"residual": None, "sample_scale": None, "scale": 1.0}
    before = operands["branch"].clone()
    _, total = add_rms_norm(**operands, eps=EPS)
    total.zero_()
    assert torch.equal(operands["branch"], before)


def test_torch_accepts_the_operators():
    for absent in ABSENT:
        operands = operands_of(2, 5, 24) | absent
        leaves_of(operands)
        scale = operands.pop("scale")
        arguments = tuple(operands.values())
        torch.library.opcheck(
            torch.ops.model_zoo.add_rms_norm.default, arguments, {"scale": scale, "eps": EPS}
        )
        with torch.no_grad():
            normed, total, inverse = torch.ops.model_zoo.add_rms_norm(
                *arguments, scale=scale, eps=EPS
            )
        weight = operands["weight"].detach()
        backward = (normed, total, total, inverse, weight, operands["sample_scale"])
        torch.library.opcheck(
            torch.ops.model_zoo.add_rms_norm_backward.default, backward, {"scale": scale}
        )


def test_a_second_derivative_is_refused_rather_than_wrong():
    operands = operands_of(1, 4, 3)
    branch = operands["branch"].requires_grad_()
    normed, _ = add_rms_norm(**operands, eps=EPS)
    (first,) = torch.autograd.grad(normed.sum(), branch, create_graph=True)
    with pytest.raises(NotImplementedError, match="once only"):
        first.sum().backward()


def test_it_compiles_without_a_graph_break():
    operands = operands_of(2, 5, 24)
    compiled: Any = torch.compile(add_rms_norm, fullgraph=True, backend="aot_eager")
    for ours, expected in zip(
        compiled(**operands, eps=EPS), add_rms_norm(**operands, eps=EPS), strict=True
    ):
        assert torch.equal(ours, expected)


def test_it_counts_as_no_multiply_adds():
    operands: dict[str, Any] = {
        k: v.to("meta") if isinstance(v, Tensor) else v for k, v in operands_of(2, 5, 24).items()
    }
    leaves_of(operands)
    with FlopCounterMode(display=False) as counter:
        normed, total = add_rms_norm(**operands, eps=EPS)
        (normed.sum() + total.sum()).backward()
    assert counter.get_total_flops() == 0
    assert torch.ops.model_zoo.add_rms_norm in torch.utils.flop_counter.flop_registry


@pytest.mark.parametrize(
    "change",
    [
        {"residual": normal(2, 5, 23)},
        {"weight": normal(5)},
        {"sample_scale": normal(5)},
    ],
)
def test_shapes_that_do_not_go_together_are_named(change):
    (name,) = change
    with pytest.raises(UnsupportedInputError, match=f"{name} must be"):
        add_rms_norm(**operands_of(2, 5, 24) | change, eps=EPS)


def test_what_runs_where_has_a_name():
    assert package.implementation("cpu") == "torch"
    assert package.implementation("cuda:0") == "triton"
