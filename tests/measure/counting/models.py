"""Small models, each with one thing that counters find hard."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Two products of N x N inside, fused or written out; 4 N D^2 + 2 N^2 D in all."""

    def __init__(self, dim: int = 8, *, fused: bool) -> None:
        super().__init__()
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.fused = fused

    def forward(self, x: Tensor) -> Tensor:
        B, N, D = x.shape
        q, k, v = self.qkv(x).reshape(B, N, 3, 2, D // 2).permute(2, 0, 3, 1, 4)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = ((q @ k.transpose(-2, -1)) * 0.5).softmax(dim=-1) @ v
        out: Tensor = self.proj(y.transpose(1, 2).reshape(B, N, D))
        return out


class DerivedLinear(nn.Linear):
    """A linear layer by another name."""


class FunctionalLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 8))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight)


class Called(nn.Module):
    """Calls a function of its input and one weight."""

    def __init__(self, function, *shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(shape))
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.function(x, self.weight)
        return out


class Convolutions(nn.Module):
    """All dimensions, grouped, strided, dilated, padded by name, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.volume = nn.Conv3d(3, 6, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        self.grouped = nn.Conv3d(6, 6, 3, groups=6, padding="same", bias=False)
        self.even = nn.Conv2d(6, 4, 2, padding="same", dilation=1)
        self.up = nn.ConvTranspose2d(4, 2, 3, stride=2, output_padding=1, groups=2)
        self.line = nn.Conv1d(2, 3, 3, dilation=2, padding="valid")
        self.norm = nn.BatchNorm1d(3)

    def forward(self, clips: Tensor) -> Tensor:
        x = self.grouped(self.volume(clips))
        x = self.up(self.even(x.mean(dim=2)))
        out: Tensor = self.norm(self.line(x.flatten(2)))
        return out


class TwoHeads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.verb = nn.Linear(8, 3)
        self.noun = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"verb": self.verb(x), "noun": self.noun(x)}


class OutOfLuckError(RuntimeError):
    pass


class Failing(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        self.layer(x)
        raise OutOfLuckError("out of luck")


def on_meta(model: nn.Module) -> nn.Module:
    return model.to("meta")


def meta(*shape: int) -> Tensor:
    return torch.empty(shape, device="meta")
