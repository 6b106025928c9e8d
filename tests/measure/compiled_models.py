"""Small models that compile well, in pieces, or again and again."""

import torch
from torch import Tensor, nn


class Plain(nn.Module):
    """Compiles as one graph."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 4)

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.head(clips.mean((2, 3, 4)))  # (B, 4)
        return logits


class Broken(Plain):
    """A graph ends in the middle."""

    def forward(self, clips: Tensor) -> Tensor:
        x = clips.mean((2, 3, 4))  # (B, 3)
        torch._dynamo.graph_break()
        logits: Tensor = self.head(x)
        return logits


class Restless(Plain):
    """What it was compiled for is another value at each step."""

    def __init__(self) -> None:
        super().__init__()
        self.name = "a"

    def forward(self, clips: Tensor) -> Tensor:
        self.name = {"a": "b", "b": "c", "c": "d", "d": "e", "e": "f"}.get(self.name, "f")
        return super().forward(clips) * len(self.name)
