"""A small model of no family, for tests of what does not depend on the architecture."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Plain(nn.Module):
    """A model of no family: a stem, a norm with a count, a head."""

    def __init__(self, num_classes: int = 5) -> None:
        super().__init__()
        self.stem = nn.Linear(3, 4)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, num_classes)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """New values for every entry of `model`."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.rand(value.shape, generator=generator).to(value.dtype) + 1
        for name, value in model.state_dict().items()
    }


def assert_holds(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    assert model.state_dict().keys() == weights.keys()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, weights[name].to(value.dtype), rtol=0, atol=0)
