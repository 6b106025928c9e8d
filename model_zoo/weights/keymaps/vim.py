"""Vim's files for images of another size, or another stride: the table of places is resized.

Source: hustvl/Vim@dd0358a, ``vim/main.py``: the first entry is kept and the others resized as a
square image, although the class token stands in the middle. Left as it is there, so that models
fine-tuned from such a table start where the official ones did.
"""

from math import isqrt

from torch import Tensor, nn

from model_zoo.vim import Vim
from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.tables import resize_2d


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Resize the table to the model's grid."""
    assert isinstance(model, Vim)
    table = state.get("pos_embed")
    if table is None or table.shape == model.pos_embed.shape:
        return Conversion(state=state)
    side = isqrt(table.shape[1] - 1)
    if side * side != table.shape[1] - 1:
        return Conversion(state=state)
    resized = resize_2d(table, model.grid, num_prefix=1, old_grid=(side, side))
    rows, columns = model.grid
    return Conversion(
        state=state | {"pos_embed": resized},
        notes=(f"pos_embed resized from {side} x {side} to {rows} x {columns} patches",),
    )
