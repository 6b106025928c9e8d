"""Models that end badly, for tests of how their endings are recorded."""

import os
import signal

import torch
from torch import Tensor, nn


class _Broken(nn.Module):
    """Does something terrible at its first forward pass on a real device."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.head = nn.Linear(3, 4)

    def forward(self, clips: Tensor) -> Tensor:
        if clips.device.type != "meta":
            if self.how == "raises":
                raise ValueError("<b>this model | raises</b>\nand goes on")
            if self.how == "is_killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "crashes":
                os.abort()
            if self.how == "exits":
                os._exit(7)
            if self.how == "allocates":
                torch.empty(1 << 50)
        logits: Tensor = self.head(clips.mean(dim=(2, 3, 4)))
        return logits


def raises(**_: object) -> nn.Module:
    return _Broken("raises")


def is_killed(**_: object) -> nn.Module:
    return _Broken("is_killed")


def crashes(**_: object) -> nn.Module:
    return _Broken("crashes")


def exits(**_: object) -> nn.Module:
    return _Broken("exits")


def allocates(**_: object) -> nn.Module:
    return _Broken("allocates")
