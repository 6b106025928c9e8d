"""Vision-RWKV's files, whose position table the official model resizes at each forward pass.

Source: OpenGVLab/Vision-RWKV@0e0e38a, ``classification/mmcls_custom/models/backbones/vrwkv.py``. A
model of ours that is built for another size holds the resized table.
"""

from typing import Final

from torch import Tensor, nn

from model_zoo.vision_rwkv import VisionRWKV
from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.tables import resize_2d

TABLE: Final = "backbone.pos_embed"


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Resize the table to the model's grid; official images are square."""
    assert isinstance(model, VisionRWKV)
    if TABLE not in state or state[TABLE].shape == model.backbone.pos_embed.shape:
        return Conversion(state=state)
    table = resize_2d(state[TABLE], model.backbone.table_grid)
    note = f"`{TABLE}` resized from {state[TABLE].shape[1]} to {table.shape[1]} places (bicubic)"
    return Conversion(state={**state, TABLE: table}, notes=(note,))
