"""How many spans the tokens of a scan are split in on a GPU."""

from importlib.util import find_spec

import pytest

if find_spec("triton") is None:
    pytest.skip("triton is not installed", allow_module_level=True)

import torch

from model_zoo.kernels.selective_scan.triton_launch import num_multiprocessors, span_tokens

H100 = {"num_multiprocessors": 132, "unit_tokens": 64}


def num_spans(length: int, num_warps: int) -> int:
    return -(-length // span_tokens(length, num_warps=num_warps, **H100))


@pytest.mark.parametrize(
    ("batch", "expected"),
    [(1, 40), (2, 22), (4, 11), (8, 5), (16, 2), (22, 2), (23, 1), (64, 1), (128, 1)],
)
def test_64_frames_of_videomamba_tiny_fill_an_h100(batch, expected):
    blocks = 2 * 384 // 32
    assert num_spans(12545, num_warps=batch * blocks) == expected


@pytest.mark.parametrize(("length", "expected"), [(1, 1), (128, 1), (129, 2), (1569, 13)])
def test_short_clips_are_split_in_spans_worth_beginning(length, expected):
    assert num_spans(length, num_warps=24) == expected


@pytest.mark.parametrize("unit_tokens", [4, 64, 100])
@pytest.mark.parametrize("num_warps", [1, 24, 500, 10_000])
@pytest.mark.parametrize("length", [1, 63, 64, 1569, 12545])
def test_spans_begin_at_checkpoints_and_are_never_more_than_fit(length, num_warps, unit_tokens):
    tokens = span_tokens(
        length, num_warps=num_warps, num_multiprocessors=108, unit_tokens=unit_tokens
    )
    assert tokens % unit_tokens == 0
    spans = -(-length // tokens)
    assert spans == 1 or spans * num_warps <= 8 * 108


def test_where_kernels_are_interpreted_the_device_is_taken_for_an_h100():
    assert num_multiprocessors(torch.device("cpu")) == 132
