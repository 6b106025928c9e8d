"""The transformer block of BEiT (arXiv:2106.08254) as VideoMAE and its successors use it.

Shapes: B clips, N tokens, D channels of a token.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo.layers.attention import attend
from model_zoo.layers.drop_path import DropPath
from model_zoo.layers.mlp import Mlp


class BeitAttention(nn.Module):
    """Self-attention whose keys have no bias: it would not change the softmax."""

    def __init__(self, dim: int, num_heads: int, *, attention: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention = attention
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        self.q_bias = nn.Parameter(torch.zeros(dim))
        self.v_bias = nn.Parameter(torch.zeros(dim))
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Attend: (B, N, D) -> (B, N, D)."""
        B, N, D = x.shape
        bias = torch.cat((self.q_bias, torch.zeros_like(self.v_bias), self.v_bias))
        qkv = F.linear(x, self.qkv.weight, bias)
        qkv = qkv.reshape(B, N, 3, self.num_heads, D // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, heads, N, D / heads)
        y = attend(q, k, v, backend=self.attention)
        return self.proj(y.transpose(1, 2).reshape(B, N, D))


class BeitBlock(nn.Module):
    """Attention and perceptron, each after its norm and beside a residual; no layer scale."""

    def __init__(
        self, dim: int, num_heads: int, mlp_dim: int, *, drop_path_rate: float, attention: str
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = BeitAttention(dim, num_heads, attention=attention)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, mlp_dim)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, x: Tensor) -> Tensor:
        """Transform: (B, N, D) -> (B, N, D)."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))
