import pytest
import torch
from torch import nn

from tests.measure.counting.models import (
    Attention,
    Called,
    DerivedLinear,
    Failing,
    FunctionalLinear,
    OutOfLuckError,
    meta,
    on_meta,
)
from vbench.measure.counting.with_thop import count_with_thop


def test_modules_of_known_types_are_counted_by_type():
    model = nn.Sequential(nn.Conv3d(3, 6, 3, padding=1), nn.BatchNorm3d(6), nn.Flatten())
    model.append(nn.Linear(6 * 4 * 8 * 8, 5))
    count = count_with_thop(on_meta(model), meta(2, 3, 4, 8, 8))
    places = 2 * 4 * 8 * 8
    assert count.by_operator["Conv3d"] == places * 6 * 3 * 27
    assert count.by_operator["Linear"] == 2 * 6 * 4 * 8 * 8 * 5
    assert count.by_operator["BatchNorm3d"] > 0
    assert count.macs == sum(count.by_operator.values())


def test_a_model_that_is_one_layer_is_counted():
    assert count_with_thop(on_meta(nn.Linear(8, 5)), meta(6, 8)).macs == 6 * 8 * 5


@pytest.mark.parametrize("fused", [True, False])
def test_products_of_attention_are_missed(fused):
    count = count_with_thop(on_meta(Attention(8, fused=fused)), meta(2, 10, 8))
    assert count.by_operator == {"Linear": 2 * 4 * 10 * 8 * 8}


def test_a_subclass_of_a_known_layer_is_missed_and_named():
    count = count_with_thop(on_meta(nn.Sequential(DerivedLinear(8, 5))), meta(6, 8))
    assert count.macs == 0
    assert count.missed == {"DerivedLinear": 1}
    assert count.subclasses == {"DerivedLinear"}


def test_a_layer_called_as_a_function_is_missed_and_its_owner_named():
    count = count_with_thop(on_meta(FunctionalLinear()), meta(6, 8))
    assert count.macs == 0
    assert count.missed == {"FunctionalLinear": 1}
    assert not count.subclasses


def test_an_operator_from_outside_torch_is_missed():
    library = torch.library.Library("thop_test", "DEF")
    library.define("product(Tensor a, Tensor b) -> Tensor")
    library.impl("product", lambda a, b: a.new_empty(a.shape[0], b.shape[1]), "Meta")
    count = count_with_thop(on_meta(Called(torch.ops.thop_test.product, 8, 5)), meta(6, 8))
    assert count.macs == 0
    library._destroy()


def test_the_same_is_counted_on_real_tensors():
    model = Attention(8, fused=False)
    on_cpu = count_with_thop(model, torch.randn(2, 10, 8))
    assert on_cpu == count_with_thop(on_meta(model), meta(2, 10, 8))


@pytest.mark.parametrize("model", [Attention(8, fused=False), Failing()])
def test_the_model_is_left_as_it_was_also_after_a_failure(model):
    model.train()
    names = list(model.state_dict())
    if isinstance(model, Failing):
        with pytest.raises(OutOfLuckError):
            count_with_thop(model, torch.randn(2, 10, 8))
    else:
        count_with_thop(model, torch.randn(2, 10, 8))
    assert list(model.state_dict()) == names
    assert model.training
    assert not any(m._forward_hooks or m._buffers for m in model.modules())
