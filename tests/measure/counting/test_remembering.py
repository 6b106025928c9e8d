import pytest
import torch
from torch import Tensor

from vbench.measure.counting.remembering import RememberedResults

aten = torch.ops.aten


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, device="meta", dtype=dtype)


CALLS = [
    (aten.mm.default, (meta(3, 4), meta(4, 5)), {}),
    (aten.add.Tensor, (meta(3, 4).t(), meta(4, 3)), {"alpha": 2}),
    (aten.add.Tensor, (meta(3, 4, dtype=torch.int64), 1), {}),
    (aten.add.Tensor, (meta(3, 4, dtype=torch.int64), 1.0), {}),
    (aten.native_layer_norm.default, (meta(2, 3, 4), [4], None, None, 1e-5), {}),
    (aten.convolution.default, (meta(1, 2, 5, 5), meta(3, 2, 3, 3), None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1), {}),  # noqa: E501
    (aten._to_copy.default, (meta(3, 4),), {"dtype": torch.bfloat16}),
    (aten.cat.default, ([meta(3, 4), meta(3, 4)], 1), {}),
    (aten.view.default, (meta(3, 4), [4, 3]), {}),
    (aten._unsafe_view.default, (meta(3, 4), [4, 3]), {}),
    (aten.add_.Tensor, (meta(3, 4), meta(3, 4)), {}),
    (aten.split.Tensor, (meta(6, 4), 2), {}),
]  # fmt: skip


def shapes(out: object) -> list[object]:
    parts = [out] if isinstance(out, Tensor) else list(out)  # type: ignore[call-overload]
    return [(x.shape, x.stride(), x.dtype) if isinstance(x, Tensor) else x for x in parts]


@pytest.mark.parametrize(("operator", "args", "kwargs"), CALLS)
def test_a_remembered_result_is_like_the_first(operator, args, kwargs):
    results = RememberedResults()
    first = results.run(operator, args, kwargs)
    again = results.run(operator, args, kwargs)
    assert shapes(first) == shapes(again) == shapes(operator(*args, **kwargs))
    assert type(first) is type(again)


def test_a_remembered_result_has_memory_of_its_own():
    results = RememberedResults()
    args = (meta(3, 4), meta(4, 5))
    outs = [results.run(aten.mm.default, args, {}) for _ in range(3)]
    assert len({out.untyped_storage()._cdata for out in outs}) == 3


@pytest.mark.parametrize("operator", [aten.view.default, aten._unsafe_view.default])
def test_a_view_stays_in_the_memory_that_it_views(operator):
    results, x = RememberedResults(), meta(3, 4)
    for _ in range(3):
        out = results.run(operator, (x, [12]), {})
        assert out.untyped_storage()._cdata == x.untyped_storage()._cdata


def test_numbers_of_different_types_are_different_arguments():
    results, x = RememberedResults(), meta(3, dtype=torch.int64)
    assert results.run(aten.add.Tensor, (x, 1), {}).dtype == torch.int64
    assert results.run(aten.add.Tensor, (x, 1.0), {}).dtype == torch.float32


def test_values_on_a_real_device_are_computed_every_time():
    results = RememberedResults()
    one, two = torch.ones(2), torch.full((2,), 2.0)
    assert results.run(aten.neg.default, (one,), {}).tolist() == [-1, -1]
    assert results.run(aten.neg.default, (two,), {}).tolist() == [-2, -2]
