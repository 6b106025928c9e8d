"""AIM's checkpoints, and the CLIP tower that its training begins from.

Follows `init_weights` of taoyang1122/adapt-image-models@b3580d2,
mmaction/models/backbones/vit_clip.py, which loads the tower without its projection.
"""

from torch import Tensor, nn

from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.keymaps.clip import visual_tower


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Put a CLIP tower under the backbone's prefix."""
    tower = visual_tower(state)
    if tower is None:
        return Conversion(state=state)
    return Conversion(
        state={f"backbone.{name}": tensor for name, tensor in tower.items() if name != "proj"},
        notes=(
            "CLIP's visual tower put under `backbone.`; its projection `proj` left out",
            "adapters, the table over time and the head are not in this file",
        ),
        untouched=("*_Adapter.*", "*_Adapter_in.*", "backbone.temporal_embedding", "cls_head.*"),
    )
