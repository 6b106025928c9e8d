"""Models small enough to be evaluated in a test, with answers that can be worked out."""

import os
import signal
import time

import torch
from torch import Tensor, nn


class _Tiny(nn.Module):
    """A linear layer on mean colours of each frame."""

    def __init__(self, num_frames: int, num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(3 * num_frames, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        features = clips.mean(dim=(3, 4)).flatten(1)  # (B, 3*T)
        logits: Tensor = self.head(features)
        return logits


def tiny(num_frames: int = 4, num_classes: int = 3) -> nn.Module:
    return _Tiny(num_frames, num_classes)


class _Bright(nn.Module):
    """Answers class 0 for dark clips, 1 for middling, 2 for bright."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("levels", torch.linspace(-1.5, 1.5, num_classes))

    def forward(self, clips: Tensor) -> Tensor:
        return -(clips.mean(dim=(1, 2, 3, 4))[:, None] - self.get_buffer("levels")).abs()


def bright(num_classes: int = 3) -> nn.Module:
    return _Bright(num_classes)


class _Slow(_Bright):
    def forward(self, clips: Tensor) -> Tensor:
        time.sleep(0.15)
        return super().forward(clips)


def slow(num_classes: int = 3) -> nn.Module:
    return _Slow(num_classes)


class _Killed(nn.Module):
    def forward(self, clips: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return clips


def killed() -> nn.Module:
    return _Killed()


class _TwoHeads(nn.Module):
    """A verb from the first frame's red, a noun from its green."""

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        red, green = clips[:, 0].mean(dim=(1, 2, 3)), clips[:, 1].mean(dim=(1, 2, 3))
        return {
            "verb": torch.stack([-red, red], dim=1),
            "noun": torch.stack([-green, green, torch.zeros_like(green)], dim=1),
        }


def two_heads(num_classes: object = None) -> nn.Module:
    return _TwoHeads()


class _Mean(nn.Module):
    def forward(self, clips: Tensor) -> Tensor:
        return clips.mean(dim=(1, 2, 3, 4))[:, None]


def mean() -> nn.Module:
    return _Mean()


class _NotFinite(nn.Module):
    def forward(self, clips: Tensor) -> Tensor:
        return clips.mean(dim=(2, 3, 4)) / 0


def not_finite() -> nn.Module:
    return _NotFinite()
