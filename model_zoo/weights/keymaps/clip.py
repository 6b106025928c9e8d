"""OpenAI's CLIP archives: the whole model, or its visual tower alone.

Several families begin from such a tower and use `visual_tower`.
"""

from typing import Final

from torch import Tensor, nn

from model_zoo.weights.keymaps import Conversion

HEAD: Final = ("proj",)

PREFIX: Final = "visual."


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Leave out the text tower."""
    tower = visual_tower(state)
    if tower is None or len(tower) == len(state):
        return Conversion(state=tower or state)
    note = f"left out the text tower: {len(state) - len(tower)} entries"
    return Conversion(state=tower, notes=(note,))


def visual_tower(state: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """The visual tower by its own names, or None if the file is not OpenAI's.

    Text and visual tower name their blocks alike, so that only the prefix tells them apart.
    """
    if f"{PREFIX}class_embedding" in state:
        return {
            name.removeprefix(PREFIX): tensor
            for name, tensor in state.items()
            if name.startswith(PREFIX)
        }
    # Of the models built on the tower, none keeps its projection to the space shared with text.
    return state if state.keys() >= {"class_embedding", "proj"} else None
