"""Softmax attention under a named backend, so that a claim can be tested with each kernel.

Shapes: ... batch and heads, N queries, M keys, C channels of a head.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Final

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

_FORCED: Final = {
    "flash": SDPBackend.FLASH_ATTENTION,
    "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION,
    "math": SDPBackend.MATH,
}


def forced_kernel(backend: str) -> AbstractContextManager[None]:
    """Within it, torch's attention runs the kernel that `backend` names, if it names one."""
    return sdpa_kernel(_FORCED[backend]) if backend in _FORCED else nullcontext()


def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    backend: str,
    scale: float | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Compute softmax(q k^T * scale + bias) v.

    Args:
        q: (..., N, C), and k, v: (..., M, C). The result is (..., N, C).
        backend: ``eager`` materialises the (N, M) scores as the original repositories did;
            ``sdpa`` lets torch choose a fused kernel; the others force one kernel of torch's.
        scale: C ** -0.5 if None.
        bias: Added to the scaled scores, broadcastable to (..., N, M).

    Raises:
        RuntimeError: A forced kernel cannot run these inputs (torch says why).
    """
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if backend == "eager":
        scores = (q @ k.transpose(-2, -1)) * scale  # (..., N, M)
        if bias is not None:
            scores = scores + bias
        return scores.softmax(dim=-1) @ v
    with forced_kernel(backend):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)


class SelfAttention(nn.Module):
    """Multi-head self-attention with one `qkv` projection, named as in timm's ViT."""

    def __init__(self, dim: int, num_heads: int, *, qkv_bias: bool = True, attention: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention = attention
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Attend: (B, N, D) -> (B, N, D)."""
        B, N, D = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, D // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, D / heads)
        y = attend(q, k, v, backend=self.attention)
        return self.proj(y.transpose(1, 2).reshape(B, N, D))
