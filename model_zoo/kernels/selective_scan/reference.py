"""The selective scan as a loop over time that mirrors the paper: slow, obvious, differentiable.

It is what the tests trust. Source: Gu and Dao, arXiv:2312.00752, algorithm 2 and section 3.2.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from model_zoo.kernels.selective_scan.inputs import accumulator_dtype


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    *,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = True,
    reverse: Sequence[bool],
) -> Tensor:
    """Scan every direction step by step; arguments as of `model_zoo.kernels.selective_scan`."""
    dtype = accumulator_dtype(u.dtype)
    total = torch.zeros((), dtype=dtype, device=u.device)
    for g, is_reversed in enumerate(reverse):
        step = delta[g].to(dtype)
        if delta_bias is not None:
            step = step + delta_bias[g].to(dtype)
        if delta_softplus:
            step = F.softplus(step)
        terms = (u[g].to(dtype), step, A[g].to(dtype), B[g].to(dtype), C[g].to(dtype))
        y = _scan(*terms, is_reversed=is_reversed)
        if D is not None:
            y = y + D[g].to(dtype) * u[g].to(dtype)
        total = total + y
    if z is not None:
        total = total * F.silu(z.to(dtype))
    return total.to(u.dtype)


def _scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, *, is_reversed: bool
) -> Tensor:
    batch, length, channels = u.shape
    state = u.new_zeros(batch, channels, A.shape[-1])
    outputs = [state[..., 0]] * length
    for t in reversed(range(length)) if is_reversed else range(length):
        decay = torch.exp(delta[:, t, :, None] * A)
        state = decay * state + (delta[:, t] * u[:, t])[..., None] * B[:, t, None, :]
        outputs[t] = (state * C[:, t, None, :]).sum(-1)
    return torch.stack(outputs, dim=1)
