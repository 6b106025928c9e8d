"""EVL's two files: the decoder as released, and the frozen backbone as OpenAI's CLIP archive.

The renaming follows ``weight_loaders.py`` of OpenGVLab/efficient-video-recognition@b282e8b.
"""

import re
from typing import Final

from torch import Tensor, nn

from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.keymaps.clip import visual_tower

HEAD: Final = ("proj.*",)

TOP: Final = {
    "class_embedding": "cls_token",
    "positional_embedding": "pos_embed",
    "conv1.weight": "patch_embed.proj.weight",
    "ln_pre.weight": "ln_pre.weight",
    "ln_pre.bias": "ln_pre.bias",
}
BLOCK: Final = {
    "attn.out_proj": "attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "ln_1": "norm1",
    "ln_2": "norm2",
}
UNUSED: Final = ("ln_post.weight", "ln_post.bias", "proj")


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Tell which of the two files it is, and give a CLIP tower EVL's names."""
    tower = visual_tower(state)
    if tower is not None:
        return Conversion(
            state=_backbone(tower),
            notes=(
                "CLIP's visual tower renamed to the backbone: linear patch embedding with zero "
                "bias, queries, keys and values apart",
                f"left out, having no use here: {', '.join(UNUSED)}",
            ),
            untouched=("decoder.*", "proj.*"),
        )
    if any(name.startswith("backbone.") for name in state):
        return Conversion(state=state)
    note = "decoder and head only: the frozen backbone is OpenAI's CLIP archive, loaded by itself"
    return Conversion(state=state, notes=(note,), untouched=("backbone.*",))


def _backbone(tower: dict[str, Tensor]) -> dict[str, Tensor]:
    renamed: dict[str, Tensor] = {}
    for name, tensor in tower.items():
        if name not in UNUSED:
            renamed |= {f"backbone.{new}": part for new, part in _renamed(name, tensor).items()}
    patches = renamed["backbone.patch_embed.proj.weight"]
    renamed["backbone.patch_embed.proj.bias"] = patches.new_zeros(len(patches))
    return renamed


def _renamed(name: str, tensor: Tensor) -> dict[str, Tensor]:
    if name == "conv1.weight":
        return {TOP[name]: tensor.flatten(1)}  # (D, 3 * patch * patch)
    if name in TOP:
        return {TOP[name]: tensor}
    block = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)", name)
    if block is None:
        return {name: tensor}
    number, layer, kind = block.groups()
    if layer == "attn.in_proj":
        return {
            f"blocks.{number}.attn.{projection}_proj.{kind}": part
            for projection, part in zip("qkv", tensor.chunk(3), strict=True)
        }
    return {f"blocks.{number}.{BLOCK.get(layer, layer)}.{kind}": tensor}
