"""ViViT's files: Scenic's Flax trees, and the port's names of transformers 5.

Sources: google-research/scenic@4a38d47, projects/vivit/model_utils.py (positions of the factorised
encoder's other clips are resized as there); huggingface/transformers v5, models/vivit. A Flax tree
comes with its paths joined by slashes. Kernels of attention hold a head an axis, and dense kernels
stand (in, out).

Shapes: T x h x w tokens along time, height and width, N of a table, D channels, d of a head.
"""

from math import isqrt, prod
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo.vivit import FactorizedViViT
from model_zoo.weights.keymaps import Conversion, Renames, renamed

HEAD: Final = ("classifier.*", "head.*")

TO_FLAX_FACTORIZED: Final[Renames] = (
    (r"^patch_embed\.proj\.", "embedding/"),
    (r"^head\.", "output_projection/"),
    (r"^spatial\.cls_token$", "cls_SpatialTransformer"),
    (r"^temporal\.cls_token$", "cls_TemporalTransformer"),
    (r"^spatial\.", "SpatialTransformer/"),
    (r"^temporal\.", "TemporalTransformer/"),
    (r"pos_embed$", "posembed_input/pos_embedding"),
    (r"blocks\.(\d+)\.", r"encoderblock_\1/"),
    (r"norm1\.weight$", "LayerNorm_0/scale"),
    (r"norm2\.weight$", "LayerNorm_1/scale"),
    (r"norm1\.bias$", "LayerNorm_0/bias"),
    (r"norm2\.bias$", "LayerNorm_1/bias"),
    (r"norm\.weight$", "encoder_norm/scale"),
    (r"norm\.bias$", "encoder_norm/bias"),
    (r"attn\.q_proj\.", "MultiHeadDotProductAttention_0/query/"),
    (r"attn\.k_proj\.", "MultiHeadDotProductAttention_0/key/"),
    (r"attn\.v_proj\.", "MultiHeadDotProductAttention_0/value/"),
    (r"attn\.out_proj\.", "MultiHeadDotProductAttention_0/out/"),
    (r"mlp\.fc1\.", "MlpBlock_0/Dense_0/"),
    (r"mlp\.fc2\.", "MlpBlock_0/Dense_1/"),
    (r"weight$", "kernel"),
)

# The port's names of transformers 4, which are ours, in those of the factorised encoder.
TO_FACTORIZED: Final[Renames] = (
    (r"^vivit\.embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^classifier\.", "head."),
    (r"^vivit\.embeddings\.cls_token$", "cls"),
    (r"^vivit\.embeddings\.position_embeddings$", "Transformer/pos_embed"),
    (r"^vivit\.encoder\.layer\.", "Transformer/blocks."),
    (r"^vivit\.layernorm\.", "Transformer/norm."),
    (r"layernorm_before\.", "norm1."),
    (r"layernorm_after\.", "norm2."),
    (r"attention\.attention\.query\.", "attn.q_proj."),
    (r"attention\.attention\.key\.", "attn.k_proj."),
    (r"attention\.attention\.value\.", "attn.v_proj."),
    (r"attention\.output\.dense\.", "attn.out_proj."),
    (r"intermediate\.dense\.", "mlp.fc1."),
    (r"output\.dense\.", "mlp.fc2."),
)

FROM_TRANSFORMERS_5: Final[Renames] = (
    (r"^vivit\.layers\.", "vivit.encoder.layer."),
    (r"attention\.q_proj\.", "attention.attention.query."),
    (r"attention\.k_proj\.", "attention.attention.key."),
    (r"attention\.v_proj\.", "attention.attention.value."),
    (r"attention\.o_proj\.", "attention.output.dense."),
    (r"mlp\.fc1\.", "intermediate.dense."),
    (r"mlp\.fc2\.", "output.dense."),
)


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Give Flax's and transformers 5's tensors our names and layout, and resize positions."""
    own = model.state_dict()
    notes: list[str] = []
    if any("/" in name for name in state):
        state = _from_flax(state, own)
        notes.append("names and layout changed from Flax's")
    elif any(name.startswith("vivit.layers.") for name in state):
        state = {renamed(name, FROM_TRANSFORMERS_5): tensor for name, tensor in state.items()}
        notes.append("names of transformers 5 changed to those of transformers 4")
    else:
        state = dict(state)
    if isinstance(model, FactorizedViViT):
        notes += _resize_tables(state, model)
    return Conversion(state=state, notes=notes)


def flax_path(name: str) -> str:
    """Path in Scenic's parameter tree of an entry of either model.

    >>> flax_path("temporal.blocks.3.attn.out_proj.weight")
    'TemporalTransformer/encoderblock_3/MultiHeadDotProductAttention_0/out/kernel'
    """
    return renamed(renamed(name, TO_FACTORIZED), TO_FLAX_FACTORIZED)


def _from_flax(state: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """What has a place in the model under the name it has there, the rest as it was."""
    tree = dict(state)
    for name in own:
        path = flax_path(name)
        if path in tree:
            tree[name] = _from_flax_layout(path, tree.pop(path))
    return tree


def _from_flax_layout(path: str, tensor: Tensor) -> Tensor:
    if path == "embedding/kernel":
        return tensor.permute(4, 3, 0, 1, 2)  # (D, 3, T, H, W)
    if path.endswith("out/kernel"):
        return tensor.flatten(0, 1).T  # (D, heads * d)
    if path.endswith("kernel"):
        return tensor.flatten(1).T  # (out, in)
    if path.endswith(("query/bias", "key/bias", "value/bias")):
        return tensor.flatten()  # (heads * d,)
    return tensor


def _resize_tables(state: dict[str, Tensor], model: FactorizedViViT) -> list[str]:
    """Resize both position tables of `state` in place where the model's are of another size."""
    T, h, w = model.patch_embed.grid
    grids = {"spatial.pos_embed": (h, w), "temporal.pos_embed": (T,)}
    notes = []
    for name, grid in grids.items():
        if name in state and state[name].shape[1] != 1 + prod(grid):
            state[name] = _resized(state[name], grid)
            notes.append(f"{name} resized to {' x '.join(map(str, grid))} tokens")
    return notes


def _resized(table: Tensor, grid: tuple[int, ...]) -> Tensor:
    """Resize linearly, ends on ends, beside the class token: (1, 1 + n, D) -> (1, 1 + N, D).

    Over two dimensions the old places must form a square; others are left as they are.
    """
    num_places = table.shape[1] - 1
    old = (num_places,) if len(grid) == 1 else (isqrt(num_places), isqrt(num_places))
    if prod(old) != num_places:
        return table
    places = table[:, 1:].transpose(1, 2).float().unflatten(-1, old)  # (1, D, *old)
    mode = "linear" if len(grid) == 1 else "bilinear"
    places = F.interpolate(places, size=grid, mode=mode, align_corners=True)  # (1, D, *grid)
    return torch.cat((table[:, :1], places.flatten(2).transpose(1, 2).to(table.dtype)), dim=1)
