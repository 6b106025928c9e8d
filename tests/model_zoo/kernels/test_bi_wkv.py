"""Both forms of Bi-WKV against their float64 references, and as operators among torch's own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from model_zoo import UnsupportedInputError
from model_zoo.kernels import bi_wkv as channel_package
from model_zoo.kernels import bi_wkv_matrix as matrix_package
from model_zoo.kernels.bi_wkv import bi_wkv, cpu
from model_zoo.kernels.bi_wkv import reference as channel_reference
from model_zoo.kernels.bi_wkv_matrix import bi_wkv_matrix
from model_zoo.kernels.bi_wkv_matrix import cpu as matrix_cpu
from model_zoo.kernels.bi_wkv_matrix import reference as matrix_reference
from tests.model_zoo.kernels.drawing import normal, relative_error

TOLERANCES = {
    torch.float64: 1e-13,
    torch.float32: 3e-6,
    torch.bfloat16: 1e-2,
    torch.float16: 1.5e-3,
}


@dataclass(frozen=True)
class Form:
    """One of the two operators, with what is trusted of it.

    Attributes:
        num_per_token: Operands, the first ones, that have a row for every token.
    """

    name: str
    package: Any
    run: Callable[..., Tensor]
    trusted: Callable[..., Tensor]
    num_per_token: int
    sizes: tuple[tuple[int, ...], ...]

    def operands(self, *sizes: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, ...]:
        """Drawn; what is per channel is wide, as in the models."""
        per_token = [normal(*sizes, dtype=dtype, seed=i) for i in range(self.num_per_token)]
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        rate, bonus = (normal(*sizes[2:], dtype=wide, seed=i) for i in (8, 9))
        if self.num_per_token == 3:
            return (*per_token, -rate.exp(), bonus)
        return (*per_token, 8 * rate / sizes[1], bonus)  # of both signs, as learned


CHANNEL = Form(
    "bi_wkv",
    channel_package,
    bi_wkv,
    channel_reference.bi_wkv,
    2,
    # batch, tokens, channels; from 33 tokens on a narrow batch is scanned on two levels
    ((1, 1, 1), (2, 2, 3), (3, 32, 2), (1, 33, 5), (2, 100, 3), (4, 37, 600), (1, 257, 4)),
)
MATRIX = Form(
    "bi_wkv_matrix",
    matrix_package,
    bi_wkv_matrix,
    matrix_reference.bi_wkv_matrix,
    3,
    # batch, tokens, heads, channels of a head; blocks of more tokens than channels are a case
    ((1, 1, 1, 1), (2, 2, 2, 3), (1, 3, 1, 8), (2, 17, 3, 4), (1, 64, 1, 16), (3, 50, 2, 5)),
)
FORMS = pytest.mark.parametrize("form", [CHANNEL, MATRIX], ids=lambda form: form.name)
FORMS_AND_SIZES = pytest.mark.parametrize(
    ("form", "sizes"),
    [
        pytest.param(form, sizes, id=f"{form.name}-{'x'.join(map(str, sizes))}")
        for form in (CHANNEL, MATRIX)
        for sizes in form.sizes
    ],
)
SMALL = {"bi_wkv": (2, 9, 3), "bi_wkv_matrix": (2, 9, 2, 3)}


def widened(operands: tuple[Tensor, ...]) -> list[Tensor]:
    return [x.double() for x in operands]


@pytest.mark.parametrize("dtype", TOLERANCES)
@FORMS_AND_SIZES
def test_scans_give_what_the_definition_gives(form, sizes, dtype):
    operands = form.operands(*sizes, dtype=dtype)
    y = form.run(*operands)
    assert (y.dtype, y.shape) == (dtype, sizes)
    assert y.is_contiguous()
    assert relative_error(y, form.trusted(*widened(operands))) < TOLERANCES[dtype]


@FORMS_AND_SIZES
def test_gradients_are_those_of_the_definition(form, sizes):
    leaves = [x.requires_grad_() for x in form.operands(*sizes)]
    grad = normal(*sizes, seed=7)
    ours = torch.autograd.grad(form.run(*leaves), leaves, grad)
    trusted = form.trusted(*leaves)
    expected = torch.autograd.grad(trusted, leaves, grad, materialize_grads=True)
    # the decay moves nothing where no token is two away; of the average's others 0 may be exact
    scale = max(x.abs().max().item() for x in expected)
    worst = max((x - y).abs().max().item() for x, y in zip(ours, expected, strict=True))
    assert worst < 1e-12 * scale


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@FORMS
def test_gradients_have_the_types_of_their_operands(form, dtype):
    sizes = form.sizes[-1]
    leaves = [x.requires_grad_() for x in form.operands(*sizes, dtype=dtype)]
    grad = normal(*sizes, seed=7).to(dtype)
    ours = torch.autograd.grad(form.run(*leaves), leaves, grad)
    exact = [x.detach().double().requires_grad_() for x in leaves]
    expected = torch.autograd.grad(form.trusted(*exact), exact, grad.double())
    assert [x.dtype for x in ours] == [x.dtype for x in leaves]
    assert max(map(relative_error, ours, expected)) < TOLERANCES[dtype]


@FORMS
def test_gradients_are_finite_differences(form):
    leaves = [x.requires_grad_() for x in form.operands(*form.sizes[1])]
    assert torch.autograd.gradcheck(form.run, leaves)


@pytest.mark.parametrize("shift", [-1e4, 1e4])
def test_extreme_keys_stay_finite_and_right(shift):
    k, v, decay, bonus = CHANNEL.operands(2, 100, 3, dtype=torch.float32)
    k = 10 * k + shift
    y = bi_wkv(k, v, decay, bonus)
    assert y.isfinite().all()
    exact = channel_reference.bi_wkv(*(x.double() for x in (k, v, decay, bonus)))
    assert relative_error(y, exact) < TOLERANCES[torch.float32]


@pytest.mark.parametrize("log_decay", [-1e4, -30.0, -1e-6, 0.0])
def test_any_decay_of_a_matrix_stays_finite_and_right(log_decay):
    operands = list(MATRIX.operands(1, 50, 2, 5, dtype=torch.float32))
    operands[3] = torch.full_like(operands[3], log_decay)
    leaves = [x.requires_grad_() for x in operands]
    y = bi_wkv_matrix(*leaves)
    exact = [x.detach().double().requires_grad_() for x in leaves]
    expected = matrix_reference.bi_wkv_matrix(*exact)
    assert relative_error(y, expected) < TOLERANCES[torch.float32]
    ours = torch.autograd.grad(y.sum(), leaves)
    theirs = torch.autograd.grad(expected.sum(), exact)
    assert max(map(relative_error, ours, theirs)) < 1e-5


@FORMS
def test_every_token_sees_those_before_and_after(form):
    operands = form.operands(*SMALL[form.name])
    changed = operands[form.num_per_token - 1].clone()
    changed[:, 4] += 1
    others = [*operands]
    others[form.num_per_token - 1] = changed
    moved = (form.run(*others) - form.run(*operands)).abs().flatten(2).amax((0, 2))
    assert (moved > 0).all()


@FORMS
def test_the_order_of_the_tokens_may_be_turned_round(form):
    operands = form.operands(*SMALL[form.name])
    turned = [x.flip(1) for x in operands[: form.num_per_token]]
    y = form.run(*turned, *operands[form.num_per_token :]).flip(1)
    assert relative_error(y, form.run(*operands)) < 1e-14


@FORMS
def test_strided_operands_need_no_copy_to_be_right(form):
    operands = form.operands(*form.sizes[-1])
    strided = [
        torch.cat((x, x), dim=-1)[..., : x.shape[-1]].transpose(0, 1).contiguous().transpose(0, 1)
        for x in operands[: form.num_per_token]
    ]
    y = form.run(*strided, *operands[form.num_per_token :])
    assert y.is_contiguous()
    assert relative_error(y, form.run(*operands)) < 1e-14


@FORMS
def test_a_run_repeats_to_the_bit(form):
    operands = form.operands(*form.sizes[-1], dtype=torch.float32)
    assert torch.equal(form.run(*operands), form.run(*operands))


def test_values_that_agree_are_their_own_average():
    k, _, decay, bonus = CHANNEL.operands(2, 50, 3)
    assert relative_error(bi_wkv(k, torch.ones_like(k), decay, bonus), torch.ones_like(k)) < 1e-14


class NumLaunches(TorchDispatchMode):
    """Counts the operators that compute or copy."""

    number = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.number += not func.is_view
        return func(*args, **(kwargs or {}))


def test_twice_the_tokens_are_one_more_level_of_seven_launches():
    numbers = []
    for num_tokens in (256, 512):
        with torch.inference_mode(), NumLaunches() as launches:
            matrix_cpu.forward(*MATRIX.operands(1, num_tokens, 2, 8))
        numbers.append(launches.number)
    assert numbers[1] - numbers[0] == 7


def test_one_level_and_two_levels_agree():
    x, ratio = normal(100, 6, 4), normal(4, seed=1).sigmoid()
    two = cpu.exclusive_scans(x, ratio)
    padded = torch.cat((x, x.new_zeros(100, cpu.WIDE_ELEMENTS, 4)), dim=1)
    one = [y[:, :6] for y in cpu.exclusive_scans(padded, ratio)]
    assert max(map(relative_error, two, one)) < 1e-14


@FORMS
def test_torch_accepts_the_operators(form):
    leaves = [x.requires_grad_() for x in form.operands(*SMALL[form.name])]
    torch.library.opcheck(getattr(torch.ops.model_zoo, form.name).default, tuple(leaves))
    grad = normal(*SMALL[form.name], seed=7)
    detached = [x.detach() for x in leaves]
    backward = getattr(torch.ops.model_zoo, f"{form.name}_backward").default
    torch.library.opcheck(backward, (grad, *detached))


@FORMS
def test_a_second_derivative_is_refused_rather_than_wrong(form):
    leaves = [x.requires_grad_() for x in form.operands(*SMALL[form.name])]
    (first,) = torch.autograd.grad(form.run(*leaves).sum(), leaves[0], create_graph=True)
    with pytest.raises(NotImplementedError, match="once only"):
        first.sum().backward()


@FORMS
def test_it_compiles_without_a_graph_break(form):
    operands = form.operands(*SMALL[form.name])
    compiled = torch.compile(form.run, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(*operands), form.run(*operands))


@FORMS
def test_torch_counts_as_declared(form):
    sizes = SMALL[form.name]
    leaves = [x.to("meta").requires_grad_() for x in form.operands(*sizes)]
    with FlopCounterMode(display=False) as counter:
        y = form.run(*leaves)
    assert (y.shape, y.device.type) == (sizes, "meta")
    assert counter.get_total_flops() == 2 * form.package.multiply_adds(sizes)
    with FlopCounterMode(display=False) as counter:
        form.run(*leaves).sum().backward()
    declared = form.package.multiply_adds(sizes) + form.package.backward_multiply_adds(sizes)
    assert counter.get_total_flops() == 2 * declared


def test_conventions_are_those_of_the_papers():
    tokens = (1, 196, 192)
    assert channel_package.multiply_adds(tokens) == 7 * 196 * 192
    assert channel_package.vision_rwkv_flops(tokens) == 29 * 196 * 192
    assert matrix_package.multiply_adds((1, 226, 3, 64)) == 7 * 64 * 226 * 192


@pytest.mark.parametrize("name", ["k", "decay", "bonus"])
def test_shapes_of_the_average_that_do_not_go_together_are_named(name):
    operands = dict(zip(("k", "v", "decay", "bonus"), CHANNEL.operands(2, 5, 3), strict=True))
    with pytest.raises(UnsupportedInputError, match=rf"{name} must be .*got: \(7,\)"):
        bi_wkv(**operands | {name: normal(7)})


@pytest.mark.parametrize("name", ["r", "k", "log_decay", "bonus"])
def test_shapes_of_the_matrix_that_do_not_go_together_are_named(name):
    names = ("r", "k", "v", "log_decay", "bonus")
    operands = dict(zip(names, MATRIX.operands(2, 5, 3, 4), strict=True))
    with pytest.raises(UnsupportedInputError, match=rf"{name} must be .*got: \(7,\)"):
        bi_wkv_matrix(**operands | {name: normal(7)})


@FORMS
def test_what_runs_where_has_a_name(form):
    assert form.package.implementation("cpu") == "chunked"
    assert form.package.implementation("cuda:0") == "triton"
