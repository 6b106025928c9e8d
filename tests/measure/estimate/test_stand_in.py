import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vbench.measure.estimate import autocast_lists as lists
from vbench.measure.estimate.ledger import Ledger
from vbench.measure.estimate.roofline import Roofline
from vbench.measure.estimate.stand_in import CudaStandIn
from vbench.measure.estimate.tracker import StepTracker
from vbench.measure.hardware import named

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32
LISTS = {
    "lower": lists.LOWER_PRECISION,
    "fp32": lists.FP32,
    "fp32 result": lists.FP32_RESULT,
    "fp32 norm": frozenset(lists.FP32_NORM),
    "widest": lists.WIDEST,
    "refused": lists.REFUSED,
}


def meta(*shape: int, dtype: torch.dtype = FP32, grad: bool = False) -> Tensor:
    return torch.empty(shape, device="meta", dtype=dtype, requires_grad=grad)


def test_the_lists_hold_what_torch_registers_for_cuda():
    registered = torch._C._dispatch_get_registrations_for_dispatch_key("AutocastCUDA")
    names = {name.removeprefix("aten::") for name in registered}
    assert names == frozenset[str]().union(*LISTS.values())


@pytest.mark.parametrize(("one", "other"), list(itertools.combinations(LISTS, 2)))
def test_no_operator_is_on_two_lists(one, other):
    assert not LISTS[one] & LISTS[other]


def result_dtype(function: Callable[..., Tensor], *args: Tensor, lower: torch.dtype = BF16):
    with torch.inference_mode(), CudaStandIn(lower, Ledger()).active():
        return function(*args).dtype


@pytest.mark.parametrize(
    ("function", "args", "dtype"),
    [
        (F.linear, (meta(3, 4), meta(5, 4)), BF16),
        (torch.matmul, (meta(3, 4), meta(4, 5)), BF16),
        (torch.einsum, ("ab,bc->ac", meta(3, 4), meta(4, 5)), BF16),
        (F.conv3d, (meta(1, 2, 3, 4, 4), meta(2, 2, 1, 1, 1)), BF16),
        (F.scaled_dot_product_attention, (meta(1, 2, 3, 8),) * 3, BF16),
        (lambda x: x.softmax(dim=-1), (meta(3, 4, dtype=BF16),), FP32),
        (lambda x: x.softmax(dim=-1, dtype=BF16), (meta(3, 4, dtype=BF16),), BF16),
        (lambda x: F.layer_norm(x, (4,)), (meta(3, 4, dtype=BF16),), FP32),
        (torch.exp, (meta(3, dtype=BF16),), FP32),
        (torch.sum, (meta(3, dtype=BF16),), FP32),
        (lambda x: x.norm(dim=-1), (meta(3, 4, dtype=BF16),), FP32),
        (F.gelu, (meta(3, dtype=BF16),), BF16),
        (F.gelu, (meta(3),), FP32),
        (torch.add, (meta(3, dtype=BF16), meta(3)), FP32),
        (torch.addcmul, (meta(3, dtype=BF16),) * 3, BF16),
        (torch.addcmul, (meta(3, dtype=BF16), meta(3), meta(3, dtype=BF16)), FP32),
        (F.linear, (meta(3, 4, dtype=torch.float64), meta(5, 4, dtype=torch.float64)),
         torch.float64),
    ],
)  # fmt: skip
def test_results_have_the_type_that_autocast_gives_them(function, args, dtype):
    assert result_dtype(function, *args) == dtype


def test_operators_inside_of_torchs_own_functions_are_cast_too():
    layer = nn.MultiheadAttention(8, 2, batch_first=True, device="meta").eval()
    assert result_dtype(lambda x: layer(x, x, x)[0], meta(2, 5, 8)) == BF16


def test_without_autocast_only_attention_is_changed():
    with CudaStandIn(None, Ledger()).active():
        assert F.linear(meta(3, 4), meta(5, 4)).dtype == FP32
        assert meta(3, 4, dtype=BF16).softmax(dim=-1).dtype == BF16


def test_nothing_is_changed_after_the_context_also_after_a_failure():
    with pytest.raises(ZeroDivisionError), CudaStandIn(BF16, Ledger()).active():
        raise ZeroDivisionError
    assert F.linear(meta(3, 4), meta(5, 4)).dtype == FP32
    assert torch.ones(2).exp().dtype == FP32


def tracked(step: Callable[[], object], lower: torch.dtype, *known: Tensor) -> Ledger:
    ledger = Ledger()
    ledger.mark(known, "weights")
    tracker = StepTracker(ledger, Roofline(gpu=named(None), allow_tf32=False))
    with CudaStandIn(lower, ledger).active(), tracker:
        step()
    return ledger


def test_a_weight_is_copied_once_and_kept_until_the_end():
    weight, x = meta(1024, 1024, grad=True), meta(1, 1024, dtype=BF16)

    def step() -> None:
        with torch.no_grad():
            F.linear(F.linear(x, weight), weight)
            assert ledgers[0].live_bytes >= weight.nbytes + weight.nbytes // 2

    ledgers = [Ledger()]
    ledgers[0].mark([weight, x], "weights")
    tracker = StepTracker(ledgers[0], Roofline(gpu=named(None), allow_tf32=False))
    with CudaStandIn(BF16, ledgers[0]).active(), tracker:
        step()
    assert ledgers[0].at_peak["weights"] == weight.nbytes * 3 // 2 + x.nbytes
    assert ledgers[0].live_bytes == weight.nbytes + x.nbytes


def test_an_activation_is_copied_for_each_use():
    x = meta(256, 1024)
    w = meta(1024, 1024, dtype=BF16)
    ledger = tracked(lambda: (F.linear(x, w), F.linear(x, w)), BF16, x, w)
    copy = output = x.nbytes // 2
    assert ledger.activation_peak_bytes == copy + 2 * output


def test_softmax_of_bfloat16_holds_a_copy_that_softmax_of_float16_does_not_need():
    def softmax_peak(dtype: torch.dtype) -> int:
        x = meta(256, 1024, dtype=dtype)
        return tracked(lambda: x.softmax(dim=-1), dtype, x).activation_peak_bytes

    num_bytes = 256 * 1024 * 4
    assert softmax_peak(BF16) == 2 * num_bytes
    assert softmax_peak(FP16) == num_bytes


def test_gradients_of_weights_have_the_type_of_the_weights():
    layer = nn.Linear(8, 8, device="meta")
    with CudaStandIn(BF16, Ledger()).active():
        out = layer(meta(3, 8))
        assert out.dtype == BF16
        out.sum().backward()
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == FP32


def test_the_backward_pass_is_outside_of_autocast():
    seen: list[torch.dtype] = []

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx, grad: Tensor) -> Tensor:
            seen.append(torch.mm(meta(2, 2), meta(2, 2)).dtype)
            return grad

    with CudaStandIn(BF16, Ledger()).active():
        Watched.apply(meta(3, grad=True)).sum().backward()
    assert seen == [FP32]
