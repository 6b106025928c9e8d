"""Packing in plain torch. Legend: as in the package's docstring."""

import torch
from torch import Tensor

from model_zoo.kernels.pack_directions.operands import Direction, empty


def pack(forward: Direction, backward: Direction, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """The operands in the order of `Packed`."""
    packed = empty(forward, dtype)
    num_rank = forward.dt_weight.shape[1]
    for g, direction in enumerate((forward, backward)):
        conv_weight, conv_bias, x_weight, dt_weight, dt_bias, rates, D = (x[g] for x in packed)
        conv_weight.copy_(direction.conv_weight.squeeze(1))
        conv_bias.copy_(direction.conv_bias)
        x_weight[:-num_rank].copy_(direction.x_weight[num_rank:])
        x_weight[-num_rank:].copy_(direction.x_weight[:num_rank])
        dt_weight.copy_(direction.dt_weight)
        dt_bias.copy_(direction.dt_bias)
        torch.neg(rates.copy_(direction.A_log.t()).exp_(), out=rates)
        D.copy_(direction.D)
    return packed
