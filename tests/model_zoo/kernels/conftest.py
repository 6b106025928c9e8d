"""What tests of kernels share."""

from collections.abc import Callable, Iterator

import pytest
import torch


@pytest.fixture
def num_threads() -> Iterator[Callable[[int], None]]:
    """Sets how many threads torch has, for one test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)
