import pytest
import torch
from torch import Tensor

from vbench.measure.estimate.traffic import moved_bytes, spanned_bytes

aten = torch.ops.aten


def meta(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.empty(shape, device="meta", dtype=dtype)


def moved(operator, *args, is_new: bool = True, **kwargs) -> int:
    out = operator(*args, **kwargs)
    outputs = [out] if isinstance(out, Tensor) else list(out or [])
    return moved_bytes(operator, args, kwargs, outputs if is_new else [])


def test_a_product_reads_both_operands_and_writes_the_result_once():
    assert moved(aten.mm.default, meta(3, 4), meta(4, 5)) == 4 * (12 + 20 + 15)


def test_a_result_that_was_there_before_is_written_and_not_read():
    a, b = meta(3, 4), meta(4, 5)
    assert moved(aten.mm.out, a, b, out=meta(3, 5), is_new=False) == 4 * (12 + 20 + 15)
    total = meta(3, 5)
    assert moved(aten.addmm.out, total, a, b, out=total, is_new=False) == 4 * (12 + 20 + 2 * 15)


def test_the_type_of_each_tensor_counts():
    x = meta(10, dtype=torch.bfloat16)
    assert moved(aten._to_copy.default, x, dtype=torch.float32) == 10 * 2 + 10 * 4


@pytest.mark.parametrize(
    ("operator", "args"),
    [
        (aten.view.default, (meta(3, 4), [12])),
        (aten._unsafe_view.default, (meta(3, 4), [12])),
        (aten.transpose.int, (meta(3, 4), 0, 1)),
        (aten.expand.default, (meta(1, 4), [1000, 4])),
        (aten.detach.default, (meta(3, 4),)),
    ],
)
def test_a_view_moves_nothing(operator, args):
    assert moved(operator, *args, is_new=False) == 0


def test_memory_as_found_is_not_written():
    assert moved(aten.empty_like.default, meta(100)) == 0
    assert moved(aten.zeros_like.default, meta(100)) == 100 * 4 + 100 * 4


def test_an_operator_in_place_reads_and_writes_what_it_changes():
    assert moved(aten.add_.Tensor, meta(10), meta(10), is_new=False) == 4 * (10 + 10 + 10)


def test_overwriting_does_not_read_what_was_there():
    assert moved(aten.copy_.default, meta(10), meta(10), is_new=False) == 4 * (10 + 10)
    assert moved(aten.zero_.default, meta(10), is_new=False) == 4 * 10


def test_lists_of_tensors_are_moved_one_by_one():
    left, right = [meta(10), meta(20)], [meta(10), meta(20)]
    assert moved(aten._foreach_add_.List, left, right, is_new=False) == 4 * 30 * 3
    assert moved(aten.cat.default, left) == 4 * 30 * 2


def test_a_lookup_reads_only_the_rows_it_takes():
    index = meta(5, dtype=torch.int64)
    assert moved(aten.embedding.default, meta(1000, 8), index) == 2 * 5 * 8 * 4 + 5 * 8


def test_an_expanded_tensor_is_read_once():
    row = meta(1, 8).expand(100, 8)
    assert spanned_bytes(row) == 8 * 4
    assert moved(aten.add.Tensor, meta(100, 8), row) == 4 * (800 + 8 + 800)


def test_a_window_that_overlaps_itself_is_read_no_more_than_once():
    windows = meta(10).as_strided((8, 3), (1, 1))
    assert spanned_bytes(windows) == 10 * 4


def test_a_fused_kernel_moves_only_its_inputs_and_outputs():
    q = meta(2, 3, 1000, 64, dtype=torch.bfloat16)
    operator = aten._scaled_dot_product_flash_attention.default
    out, logsumexp, *_ = operator(q, q, q)
    args = (q, q, q)
    assert moved_bytes(operator, args, {}, [out, logsumexp]) == 4 * q.numel() * 2 + 6000 * 4
