"""ST-Adapter's checkpoints, and the CLIP tower that its training begins from.

Follows the constructors of linziyi96/st-adapter@b914b38, models_adapter.py.
"""

from typing import Final

from torch import Tensor, nn

from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.keymaps.clip import visual_tower

HEAD: Final = ("fc.*",)


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Drop the projection of a CLIP tower; other names are the same."""
    tower = visual_tower(state)
    if tower is None:
        return Conversion(state=state)
    return Conversion(
        state={name: tensor for name, tensor in tower.items() if name != "proj"},
        notes=(
            "CLIP's visual tower; its projection `proj` left out",
            "adapters and the head are not in this file",
        ),
        untouched=("*.adapter_pre_*", "fc.*"),
    )
