"""The edge cell as it is written; it is what the tests trust. Source: arXiv:2411.05636."""

import torch
from torch import Tensor


def edge_cell(
    attended: Tensor, receptance: Tensor, value: Tensor, edges: Tensor, cell: Tensor
) -> tuple[Tensor, Tensor]:
    """Hidden and cell state; arguments as of `model_zoo.kernels.edge_cell`."""
    a = attended + torch.sigmoid(receptance) * value
    cell = cell + edges * (torch.tanh(a) + cell)
    return torch.tanh(cell) * torch.sigmoid(a), cell
