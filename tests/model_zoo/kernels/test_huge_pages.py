"""What is asked of the system for large results: aligned, inside them, and for nothing else."""

import mmap
import resource
from pathlib import Path

import pytest
import torch

from model_zoo.kernels import _huge_pages
from model_zoo.kernels._huge_pages import HUGE_PAGE_BYTES, LARGE_BYTES, in_huge_pages

SWITCH = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.fixture
def asked(monkeypatch) -> list[tuple[int, int]]:
    """Starts and lengths that were asked for."""
    calls: list[tuple[int, int]] = []

    def madvise(start: int, length: int, advice: int) -> int:
        assert advice == mmap.MADV_HUGEPAGE
        calls.append((start, length))
        return -1  # a refusal changes nothing

    monkeypatch.setattr(_huge_pages, "_madvise", lambda: madvise)
    return calls


def test_whole_pages_inside_of_a_large_tensor_are_asked_for(asked):
    x = torch.empty(LARGE_BYTES + 5000, dtype=torch.uint8)
    assert in_huge_pages(x) is x
    ((start, length),) = asked
    assert start % HUGE_PAGE_BYTES == length % HUGE_PAGE_BYTES == 0
    assert x.data_ptr() <= start
    assert start + length <= x.data_ptr() + x.nbytes
    assert length >= x.nbytes - 2 * HUGE_PAGE_BYTES


def test_small_tensors_and_those_without_memory_are_left_alone(asked):
    in_huge_pages(torch.empty(LARGE_BYTES - 1, dtype=torch.uint8))
    in_huge_pages(torch.empty(2 * LARGE_BYTES, dtype=torch.uint8, device="meta"))
    assert not asked


def test_without_such_pages_nothing_happens(monkeypatch):
    monkeypatch.delattr(mmap, "MADV_HUGEPAGE", raising=False)
    _huge_pages._madvise.cache_clear()
    x = torch.empty(LARGE_BYTES, dtype=torch.uint8)
    assert in_huge_pages(x) is x
    _huge_pages._madvise.cache_clear()


@pytest.mark.skipif(
    not SWITCH.exists() or "[never]" in SWITCH.read_text(), reason="the system has no huge pages"
)
def test_writing_a_large_tensor_takes_few_faults():
    x = in_huge_pages(torch.empty(2 * LARGE_BYTES, dtype=torch.uint8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    x.fill_(1)
    num_faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert num_faults < x.nbytes / mmap.PAGESIZE / 2
