"""Deterministic weights and clips from names and shapes alone.

Two implementations that share checkpoint names can so be compared by their logits without
shipping weights. The rules are fixed: the reference logits in `golden/zoo` were made with them.
"""

import math
import zlib
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor, nn

_EMBEDDINGS = {
    "cls_token",
    "pos_embed",
    "temporal_pos_embedding",
    "time_embed",
    "class_embedding",
    "positional_embedding",
}


def _standard_normal(tag: str, shape: Sequence[int]) -> np.ndarray:
    seed = zlib.crc32(tag.encode())
    return np.random.Generator(np.random.PCG64(seed)).standard_normal(tuple(shape))


def filled(name: str, tensor: Tensor) -> Tensor:
    """The value of state-dict entry `name`, which depends on the name and shape alone."""
    if not tensor.is_floating_point():
        return tensor.clone()
    noise = _standard_normal(name, tensor.shape)
    value = _scaled(noise, name, name.rpartition(".")[2])
    return torch.from_numpy(np.ascontiguousarray(value)).to(tensor.dtype)


def _scaled(noise: np.ndarray, name: str, leaf: str) -> np.ndarray:
    if leaf == "running_var":
        return 1.0 + 0.1 * abs(noise)
    if leaf in ("A_log", "A_b_log"):
        return np.log(np.arange(1, noise.shape[-1] + 1))[None, :] + 0.02 * noise
    if leaf in ("D", "D_b"):
        return 1.0 + 0.02 * noise
    if leaf == "bias" and "dt_proj" in name:
        return -4.0 + 0.5 * noise
    if leaf == "weight" and noise.ndim == 1:
        return 1.0 + 0.05 * noise
    if noise.ndim <= 1:
        return 0.05 * noise
    if "embed" in leaf or leaf in _EMBEDDINGS:
        return 0.1 * noise
    return noise / math.sqrt(max(math.prod(noise.shape[1:]), 1))


def fill(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the same names with every floating entry replaced."""
    return {name: filled(name, tensor) for name, tensor in state.items()}


def fill_model(model: nn.Module) -> nn.Module:
    """`model` in float64 and eval mode with deterministic weights, in place."""
    model = model.double().eval()
    model.load_state_dict(fill(model.state_dict()))
    return model


def clip(shape: Sequence[int], tag: str = "clip") -> Tensor:
    """A unit-normal float64 clip (B, 3, T, H, W) that depends on its shape and tag."""
    return torch.from_numpy(_standard_normal(f"{tag}:{tuple(shape)}", shape))
