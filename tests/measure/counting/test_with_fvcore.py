import warnings
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.measure.counting.models import (
    Attention,
    Called,
    Convolutions,
    DerivedLinear,
    Failing,
    OutOfLuckError,
    TwoHeads,
    meta,
    on_meta,
)
from vbench.measure.counting.with_fvcore import count_with_fvcore


@pytest.fixture
def slow_attention() -> Iterator[None]:
    """Keep `nn.MultiheadAttention` off the fast path, which meta tensors never take."""
    torch.backends.mha.set_fastpath_enabled(value=False)
    yield
    torch.backends.mha.set_fastpath_enabled(value=True)


def untouched_fvcore(model: nn.Module, x: Tensor) -> tuple[dict[str, float], dict[str, int]]:
    """What fvcore says of real tensors, without any help of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis

        analysis = FlopCountAnalysis(model.eval(), x)
        analysis.unsupported_ops_warnings(enabled=False).uncalled_modules_warnings(enabled=False)
        with torch.no_grad():
            return dict(analysis.by_operator()), dict(analysis.unsupported_ops())


@pytest.fixture(scope="module")
def library() -> Iterator[torch.library.Library]:
    library = torch.library.Library("fvcore_test", "DEF")
    library.define("plain(Tensor a, Tensor b) -> Tensor")
    library.define("flagged(Tensor a, Tensor b, *, bool[] flags) -> Tensor")
    library.impl("plain", lambda a, b: a.new_empty(a.shape[0], b.shape[1]), "Meta")
    library.impl("flagged", lambda a, b, *, flags: a.new_empty(a.shape[0], b.shape[1]), "Meta")
    yield library
    library._destroy()


@pytest.mark.filterwarnings("ignore:Using padding")
@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (Convolutions(), (2, 3, 4, 8, 8)),
        (Attention(8, fused=True), (2, 10, 8)),
        (Attention(8, fused=False), (2, 10, 8)),
        (nn.TransformerEncoderLayer(8, 2, batch_first=True), (2, 10, 8)),
        (nn.Sequential(DerivedLinear(8, 4), nn.LayerNorm(4)), (6, 8)),
        (Called(lambda x, w: F.conv3d(x, w), 5, 3, 2, 3, 3), (2, 3, 4, 8, 8)),
        (Called(lambda x, w: F.conv2d(x, w, stride=2, padding=[1, 2]), 5, 3, 3, 3), (2, 3, 8, 8)),
    ],
)
def test_on_meta_it_counts_what_it_counts_on_real_tensors(model, shape, slow_attention):
    expected, unsupported = untouched_fvcore(model, torch.randn(shape))
    count = count_with_fvcore(on_meta(model), meta(*shape))
    assert dict(count.by_operator) == expected
    assert dict(count.missed) == unsupported


def test_fused_attention_is_not_counted_but_listed():
    count = count_with_fvcore(on_meta(Attention(8, fused=True)), meta(2, 10, 8))
    assert count.macs == 2 * 4 * 10 * 8 * 8
    assert count.missed["aten::scaled_dot_product_attention"] == 1


def test_a_broadcast_product_is_counted_for_one_of_its_matrices_only():
    count = count_with_fvcore(on_meta(Called(lambda x, w: x @ w, 4, 8, 5)), meta(6, 8))
    assert count.macs == 6 * 8 * 5


def test_an_operator_from_outside_torch_is_not_counted_but_listed(library):
    ops = torch.ops.fvcore_test
    model = Called(lambda x, w: ops.plain(x, w) + ops.flagged(x, w, flags=[True, False]), 8, 5)
    count = count_with_fvcore(on_meta(model), meta(6, 8))
    assert count.macs == 0
    assert count.missed == {"fvcore_test::plain": 1, "flagged": 1, "aten::add": 1}


def test_a_model_with_several_heads_is_counted():
    count = count_with_fvcore(on_meta(TwoHeads()), meta(6, 8))
    assert count.by_operator == {"linear": 6 * 8 * (3 + 5)}


@pytest.mark.parametrize("model", [Attention(8, fused=False), Failing()])
def test_the_model_is_left_as_it_was_also_after_a_failure(model):
    model.train()
    names = list(model.state_dict())
    convolution = F.conv3d
    if isinstance(model, Failing):
        with pytest.raises(OutOfLuckError):
            count_with_fvcore(model, torch.randn(2, 10, 8))
    else:
        count_with_fvcore(model, torch.randn(2, 10, 8))
    assert list(model.state_dict()) == names
    assert model.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch._C._get_tracing_state() is None
    assert F.conv3d is convolution
