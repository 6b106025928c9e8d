"""VMamba's released files, which hold the names of earlier versions of its code.

Source: MzeroMiko/VMamba@2ed52ea, the ``_load_from_state_dict`` of ``VSSM``, ``SS2D`` and ``Linear``
in ``vmamba.py``.
"""

import re
from typing import Final

from torch import Tensor, nn

from model_zoo.weights.keymaps import Conversion

HEAD: Final = ("classifier.head.*",)

_RENAMED: Final = (
    (r"^patch_embed\.proj\.", "patch_embed.0."),
    (r"^patch_embed\.norm\.", "patch_embed.2."),
    (r"^(layers\.\d+\.blocks\.\d+)\.ln_1\.", r"\1.norm."),
    (r"^(layers\.\d+\.blocks\.\d+)\.self_attention\.", r"\1.op."),
    (r"^(layers\.\d+\.downsample)\.norm\.", r"\1.1."),
    (r"^(layers\.\d+\.downsample)\.reduction\.", r"\1.2."),
    (r"^norm\.", "classifier.norm."),
    (r"^head\.", "classifier.head."),
)
_NOW_LINEAR: Final = (".x_proj_weight", ".dt_projs_weight")  # but in the vanilla model


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Give today's names, and projections that were convolutions or stacks as matrices."""
    own = model.state_dict()
    converted = {_name_today(name, own): value for name, value in state.items()}
    num_renamed = len(converted.keys() - state.keys())
    notes = [f"{num_renamed} entries renamed from an earlier version"] if num_renamed else []
    num_reshaped = 0
    for name, value in converted.items():
        if name in own and own[name].ndim == 2 and _is_that_matrix(value, own[name]):
            converted[name] = value.reshape(own[name].shape)
            num_reshaped += 1
    if num_reshaped:
        notes.append(f"{num_reshaped} projections reshaped to matrices")
    return Conversion(state=converted, notes=notes)


def _name_today(name: str, own: dict[str, Tensor]) -> str:
    if name in own:
        return name
    for pattern, replacement in _RENAMED:
        name = re.sub(pattern, replacement, name)
    if name not in own and name.endswith(_NOW_LINEAR):
        name = name.removesuffix("_weight") + ".weight"
    return name


def _is_that_matrix(value: Tensor, matrix: Tensor) -> bool:
    """Whether `value` is `matrix` as a kernel of 1 x 1 or as a stack of matrices."""
    kernel = (*matrix.shape, 1, 1)
    is_stack = value.ndim == 3 and value.flatten(0, 1).shape == matrix.shape
    return value.shape == kernel or is_stack
