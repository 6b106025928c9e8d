"""The one thing in the scans that goes step by step: x_t += decay_t x_(t-1), each x an array.

On a CPU all steps of a chunk are one call. A call for each would take as long as its arithmetic,
and several threads would wait for each other, since each call takes Python's lock again.
"""

import functools

import torch
from torch import Tensor


def run(steps: tuple[Tensor, ...], decays: tuple[Tensor, ...], start: Tensor) -> Tensor:
    """Turn increments into states, in place; the last one comes back.

    Args:
        steps: At least one.
        decays: Of each step, what the state before it is multiplied by.
        start: The state before the first.
    """
    before = [start, *steps[:-1]]
    if start.device.type == "cpu" and _lists_go_in_order():
        torch._foreach_addcmul_(steps, decays, before)
    else:
        for step, decay, state in zip(steps, decays, before, strict=True):
            step.addcmul_(decay, state)
    return steps[-1]


@functools.cache
def _lists_go_in_order() -> bool:
    """Whether torch's operators on lists see what they wrote for the elements before.

    They do on CPUs, where they are loops, but nobody promises it.
    """
    values = torch.ones(64, 64)
    rows = values.unbind(0)
    torch._foreach_addcmul_(rows[1:], rows[:1] * 63, rows[:-1])
    return torch.equal(values, torch.arange(1.0, 65)[:, None].expand_as(values))
