"""The matrix-valued Bi-WKV as two loops over the tokens: slow, obvious, differentiable.

It is what the tests trust. Source: the recurrence of RWKV-5, arXiv:2404.05892, section 4, run from
both ends.
"""

import torch
from torch import Tensor


def bi_wkv_matrix(r: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, bonus: Tensor) -> Tensor:
    """Read the states; arguments as of `model_zoo.kernels.bi_wkv_matrix`."""
    dtype = torch.float64 if v.dtype == torch.float64 else torch.float32
    r, k, wide_v = (x.to(dtype) for x in (r, k, v))
    decay = log_decay.to(dtype).exp()[..., None]  # (H, D, 1)
    pairs = k.unsqueeze(-1) * wide_v.unsqueeze(-2)  # (B, N, H, D, D)
    y = torch.einsum("bnhi,hi,bnhij->bnhj", r, bonus.to(dtype), pairs)
    for order in (range(v.shape[1]), reversed(range(v.shape[1]))):
        state = torch.zeros_like(pairs[:, 0])
        outputs = [y[:, 0]] * v.shape[1]
        for i in order:
            outputs[i] = torch.einsum("bhi,bhij->bhj", r[:, i], state)
            state = decay * state + pairs[:, i]
        y = y + torch.stack(outputs, dim=1)
    return y.to(v.dtype)
