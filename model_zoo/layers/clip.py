"""Blocks of CLIP's visual transformer, parameters named as in openai/CLIP.

Source: arXiv:2103.00020, openai/CLIP@d05afc4, ``clip/model.py``.

Shapes: F frames of a batch, N tokens of a frame (class token and patches), D channels,
h and w patches along the sides of a frame.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from model_zoo.layers.attention import attend


def quick_gelu(x: Tensor) -> Tensor:
    """CLIP's approximation of GELU, the product of x with sigmoid(1.702 x)."""
    return x * torch.sigmoid(1.702 * x)


def embedding(*shape: int) -> nn.Parameter:
    """A normal table with deviation D ** -0.5: (..., D)."""
    return nn.Parameter(shape[-1] ** -0.5 * torch.randn(shape))


def patch_convolution(dim: int, patch_px: int) -> nn.Conv2d:
    """Project patches to D channels; rows and columns short of a whole patch are left out."""
    return nn.Conv2d(3, dim, kernel_size=patch_px, stride=patch_px, bias=False)


def frame_tokens(
    frames: Tensor, convolution: nn.Conv2d, class_embedding: Tensor, positions: Tensor
) -> Tensor:
    """A class token and the patches of each frame, positions added.

    Args:
        frames: (F, 3, H, W).
        class_embedding: (D,).
        positions: (1 + h*w, D), the class token's first.

    Returns:
        (F, 1 + h*w, D).
    """
    patches = convolution(frames).flatten(2).transpose(1, 2)  # (F, h*w, D)
    class_tokens = class_embedding.expand(len(patches), 1, -1)  # (F, 1, D)
    return torch.cat((class_tokens, patches), dim=1) + positions


class ClipAttention(nn.Module):
    """Multi-head self-attention with the parameters of `torch.nn.MultiheadAttention`."""

    def __init__(self, dim: int, num_heads: int, *, attention: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention = attention
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Attend: (F, N, D) -> (F, N, D)."""
        F, N, D = x.shape
        qkv = linear(x, self.in_proj_weight, self.in_proj_bias)
        qkv = qkv.reshape(F, N, 3, self.num_heads, D // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (F, heads, N, D / heads)
        y = attend(q, k, v, backend=self.attention)
        return self.out_proj(y.transpose(1, 2).reshape(F, N, D))


class ClipMlp(nn.Module):
    """Linear to four times the width, QuickGELU, linear back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.c_fc = nn.Linear(dim, 4 * dim)
        self.c_proj = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token: (..., D) -> (..., D)."""
        return self.c_proj(quick_gelu(self.c_fc(x)))


class ResidualAttentionBlock(nn.Module):
    """Attention, then perceptron, each on the normalised tokens and added to them."""

    def __init__(self, dim: int, num_heads: int, *, attention: str) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(dim)
        self.attn = ClipAttention(dim, num_heads, attention=attention)
        self.ln_2 = nn.LayerNorm(dim)
        self.mlp = ClipMlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Transform the tokens of each frame: (F, N, D) -> (F, N, D)."""
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    """Blocks one after another, in a module of their own as their official names have it."""

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.resblocks = nn.ModuleList(blocks)

    def forward(self, x: Tensor, *sizes: int) -> Tensor:
        """Apply each block to (F, N, D) tokens and to what it needs to know of their layout."""
        for block in self.resblocks:
            x = block(x, *sizes)
        return x
