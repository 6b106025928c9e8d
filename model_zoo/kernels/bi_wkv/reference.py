"""Bi-WKV by its definition, all pairs of tokens at once: slow, obvious, differentiable.

It is what the tests trust. Source: Vision-RWKV, arXiv:2403.02308, equation 4.
"""

import torch
from torch import Tensor


def bi_wkv(k: Tensor, v: Tensor, decay: Tensor, bonus: Tensor) -> Tensor:
    """Average the values; arguments as of `model_zoo.kernels.bi_wkv`."""
    dtype = torch.float64 if v.dtype == torch.float64 else torch.float32
    place = torch.arange(k.shape[1], device=k.device)
    distance = (place[:, None] - place).abs()[..., None]  # (T, T, 1)
    weight = -(distance - 1) * decay.to(dtype) + k.to(dtype).unsqueeze(1)  # (B, T, T, C)
    own = bonus.to(dtype) + k.to(dtype).unsqueeze(1)
    weight = torch.where(distance == 0, own, weight)
    return torch.einsum("btic,bic->btc", weight.softmax(dim=2), v.to(dtype)).to(v.dtype)
