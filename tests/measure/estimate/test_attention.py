import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from vbench.core.errors import UsageError
from vbench.measure.estimate.attention import AttentionKernels, choose
from vbench.measure.estimate.ledger import Ledger
from vbench.measure.estimate.roofline import Roofline
from vbench.measure.estimate.tracker import StepTracker
from vbench.measure.hardware import named

BF16, FP32 = torch.bfloat16, torch.float32


def meta(*shape: int, dtype: torch.dtype = BF16, grad: bool = False) -> Tensor:
    return torch.empty(shape, device="meta", dtype=dtype, requires_grad=grad)


@pytest.mark.parametrize(
    ("q", "mask", "kernel"),
    [
        (meta(2, 3, 10, 64), None, "flash"),
        (meta(2, 3, 10, 64, dtype=torch.float16), None, "flash"),
        (meta(2, 3, 10, 20), None, "flash"),
        (meta(2, 3, 10, 64, dtype=FP32), None, "efficient"),
        (meta(2, 3, 10, 64), meta(10, 10), "efficient"),
        (meta(2, 3, 10, 512), None, "efficient"),
        (meta(2, 3, 10, 62, dtype=FP32), None, "math"),
        (meta(2, 10, 64), None, "math"),
        (meta(2, 3, 10, 64, dtype=torch.float64), None, "math"),
    ],
)
def test_the_kernel_is_the_one_that_cuda_would_choose(q, mask, kernel):
    assert choose(q, q, q, mask, enable_gqa=False) == kernel


@pytest.mark.parametrize(
    ("backend", "kernel"),
    [
        (SDPBackend.FLASH_ATTENTION, "flash"),
        (SDPBackend.EFFICIENT_ATTENTION, "efficient"),
        (SDPBackend.CUDNN_ATTENTION, "cudnn"),
        (SDPBackend.MATH, "math"),
    ],
)
def test_a_forced_kernel_is_taken(backend, kernel):
    q = meta(2, 3, 10, 64)
    with sdpa_kernel(backend):
        assert choose(q, q, q, None, enable_gqa=False) == kernel
        assert AttentionKernels().run(q, q, q).shape == q.shape


def test_a_forced_kernel_that_cannot_run_is_an_error():
    q = meta(2, 3, 10, 64, dtype=FP32)
    with (
        sdpa_kernel(SDPBackend.FLASH_ATTENTION),
        pytest.raises(UsageError, match=r"cannot take torch.float32 of shape \(2, 3, 10, 64\)"),
    ):
        choose(q, q, q, None, enable_gqa=False)


def peak_bytes(q: Tensor, mask: Tensor | None = None, *, backward: bool = False) -> int:
    ledger = Ledger()
    ledger.mark([x for x in (q, mask) if x is not None], "weights")
    roofline = Roofline(gpu=named(None), allow_tf32=False)
    with StepTracker(ledger, roofline):
        out = AttentionKernels().run(q, q, q, mask)
        if backward:
            out.sum().backward()
    return ledger.activation_peak_bytes


def test_a_fused_kernel_holds_its_output_and_one_number_a_row():
    q = meta(1, 4, 1024, 64)
    logsumexp = 4 * 1024 * 4
    assert peak_bytes(q) == pytest.approx(q.nbytes + logsumexp, abs=2048)


def test_the_written_out_kernel_holds_the_scores():
    q = meta(1, 4, 1024, 64)
    with sdpa_kernel(SDPBackend.MATH):
        assert peak_bytes(q) >= 2 * 4 * 1024 * 1024 * 4


def test_training_through_a_fused_kernel_never_holds_the_scores():
    q = meta(1, 4, 1024, 64, grad=True)
    assert peak_bytes(q, backward=True) < 8 * q.nbytes


def test_a_boolean_mask_becomes_an_additive_one_of_its_own_size():
    q, mask = meta(8, 4, 1024, 64), meta(1024, 1024, dtype=torch.bool)
    additive = 1024 * 1024 * 2
    inverted = 1024 * 1024
    assert peak_bytes(q, mask) - peak_bytes(q) <= additive + inverted
    assert peak_bytes(q, mask) > additive


def test_an_aligned_mask_is_broadcast_without_a_copy():
    q = meta(8, 4, 1024, 64)
    efficient = peak_bytes(q, meta(1, 1, 1024, 1024))
    with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION):
        assert efficient == peak_bytes(q)


def test_a_mask_with_odd_rows_is_copied_into_aligned_ones():
    q = meta(8, 4, 1023, 64)
    aligned_rows = 1023 * 1024 * 2
    with sdpa_kernel(SDPBackend.EFFICIENT_ATTENTION):
        extra = peak_bytes(q, meta(1, 1, 1023, 1023)) - peak_bytes(q)
    assert extra == pytest.approx(aligned_rows, abs=1024)


@pytest.mark.parametrize("channels", [20, 64])
@pytest.mark.parametrize("dtype", [BF16, FP32])
def test_the_output_has_the_shape_of_the_queries(channels, dtype):
    q, k = meta(2, 3, 10, channels, dtype=dtype), meta(2, 3, 7, channels, dtype=dtype)
    out = AttentionKernels().run(q, k, k)
    assert (out.shape, out.dtype) == (q.shape, dtype)
