"""MViTv2's files for clips of another size: the tables of relative offsets are resized.

Source: facebookresearch/SlowFast@287ec00, `load_checkpoint` of slowfast/utils/checkpoint.py.
"""

from torch import Tensor, nn

from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.tables import resize_1d


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Resize each table to the model's number of offsets."""
    own = model.state_dict()
    tables = {
        name
        for name, value in state.items()
        if ".attn.rel_pos_" in name and name in own and len(value) != len(own[name])
    }
    if not tables:
        return Conversion(state=state)
    resized = {
        name: resize_1d(value.unsqueeze(0), len(own[name]), mode="linear")[0]
        if name in tables
        else value
        for name, value in state.items()
    }
    return Conversion(
        state=resized, notes=(f"{len(tables)} tables of relative offsets resized linearly",)
    )
