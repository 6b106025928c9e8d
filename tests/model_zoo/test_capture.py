"""A CUDA graph can hold every architecture: nothing in a forward pass waits for the device.

Checked where there is no device: what would wait, a number read from a tensor or a tensor made of
the host's numbers, is one of torch's functions, and none of them is called.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

import model_zoo
from tests.model_zoo.test_compile import SMALLEST

WAITING = {
    *(torch.tensor, torch.as_tensor, torch.from_numpy, torch.scalar_tensor),
    *(torch.nonzero, torch.unique, torch.masked_select, torch.equal, torch.allclose),
    *(
        Tensor.new_tensor,
        Tensor.item,
        Tensor.tolist,
        Tensor.numpy,
        Tensor.cpu,
        Tensor.nonzero,
        Tensor.__bool__,
    ),
    *(Tensor.__int__, Tensor.__float__, Tensor.__index__, Tensor.unique, Tensor.masked_select),
}


class NothingWaits(TorchFunctionMode):
    """Refuses functions that make the host wait for the device, or copy from it."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func in WAITING:
            raise AssertionError(f"a CUDA graph cannot hold: {func.__name__}")
        if func is Tensor.__getitem__:
            indices = args[1] if isinstance(args[1], tuple) else (args[1],)
            for index in indices:
                if isinstance(index, list) or getattr(index, "dtype", None) == torch.bool:
                    raise AssertionError("a CUDA graph cannot hold an index by list or mask")
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("family", SMALLEST)
def test_nothing_waits_for_the_device(family):
    name, num_frames, side = SMALLEST[family]
    with torch.device("meta"):
        model = model_zoo.create_model(name, num_frames=num_frames, resolution=side).eval()
        clips = torch.empty(1, 3, num_frames, side, side)
    with torch.inference_mode(), NothingWaits():
        model(clips)


@pytest.mark.parametrize(
    "wait",
    [
        lambda x: torch.tensor((1.0, 2.0)),
        lambda x: x.sum().item(),
        lambda x: float(x[0]),
        lambda x: x[x > 0],
        lambda x: x[[0, 1]],
        lambda x: 1 if x.sum() > 0 else 0,
    ],
)
def test_what_waits_is_found(wait):
    with NothingWaits(), pytest.raises(AssertionError, match="cannot hold"):
        wait(torch.ones(3))
