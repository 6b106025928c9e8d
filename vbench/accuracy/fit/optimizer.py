"""Muon for the matrices of hidden layers, AdamW for everything else.

Source of Muon: Jordan et al. 2024, kellerjordan.github.io/posts/muon; torch.optim.Muon. Its steps
are scaled to the size of AdamW's (Liu et al., arXiv:2502.16982), so that one learning rate does for
both. As there, the first layer, which reads pixels, and the classifier are AdamW's.
"""

from typing import Any, Final

import torch
from torch import Tensor, nn

from vbench.accuracy.fit.recipe import Recipe
from vbench.core.errors import UnavailableError

CONVOLUTIONS: Final = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
PIXEL_CHANNELS: Final = 3


class Optimizer:
    """Both optimizers of a model, under one learning rate."""

    def __init__(self, model: nn.Module, recipe: Recipe, *, num_outputs: int) -> None:
        trained = [p for p in model.parameters() if p.requires_grad]
        hidden = {id(weight) for weight in hidden_weights(model, num_outputs)}
        layers = (nn.Linear, *CONVOLUTIONS)
        decayed = {id(m.weight) for m in model.modules() if isinstance(m, layers)}
        others = [p for p in trained if id(p) not in hidden]
        groups = [
            {
                "params": [p for p in others if id(p) in decayed],
                "weight_decay": recipe.weight_decay,
            },
            {"params": [p for p in others if id(p) not in decayed], "weight_decay": 0.0},
        ]
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=recipe.learning_rate)
        ]
        # A kernel is the matrix from all that an output reads to it: a view of the same memory,
        # because torch's Muon takes matrices alone.
        self.kernels = [p for p in trained if id(p) in hidden]
        self.matrices = [p.detach().view(p.shape[0], -1) for p in self.kernels]
        if self.matrices:
            if not hasattr(torch.optim, "Muon"):
                raise UnavailableError(
                    f"training needs torch 2.9 or later, this is {torch.__version__}"
                )
            muon = torch.optim.Muon(
                self.matrices,
                lr=recipe.learning_rate,
                weight_decay=recipe.weight_decay,
                adjust_lr_fn="match_rms_adamw",
            )
            self.parts.append(muon)

    def zero_grad(self) -> None:
        """Forget all gradients."""
        self.parts[0].zero_grad(set_to_none=True)
        for kernel in self.kernels:
            kernel.grad = None

    def step(self, learning_rate: float) -> None:
        """Move every parameter along its gradient."""
        for kernel, matrix in zip(self.kernels, self.matrices, strict=True):
            matrix.grad = None if kernel.grad is None else kernel.grad.view_as(matrix)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate
            part.step()

    def state_dict(self) -> list[dict[str, Any]]:
        """Of both."""
        return [part.state_dict() for part in self.parts]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """The same, put back."""
        for part, kept in zip(self.parts, state, strict=True):
            part.load_state_dict(kept)


def hidden_weights(model: nn.Module, num_outputs: int) -> list[Tensor]:
    """Weights of linear layers and ungrouped convolutions between the first and the classifier."""
    found: list[Tensor] = []
    for module in model.modules():
        is_linear = isinstance(module, nn.Linear) and module.out_features != num_outputs
        is_convolution = (
            isinstance(module, CONVOLUTIONS)
            and module.groups == 1
            and module.in_channels != PIXEL_CHANNELS
            and module.out_channels != num_outputs
        )
        if is_linear or is_convolution:
            found.append(module.get_parameter("weight"))
    return [weight for weight in found if weight.requires_grad]
