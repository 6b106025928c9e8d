"""C3D's files: mmaction2's, and its Sports-1M backbone (`c3d_sports1m_pretrain`)."""

from torch import Tensor, nn

from model_zoo.weights.keymaps import Conversion


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Put a bare backbone in its place."""
    if "conv1a.conv.weight" not in state:
        return Conversion(state=state)
    return Conversion(
        state={f"backbone.{name}": value for name, value in state.items()},
        notes=("a backbone: the classifier stays as initialised",),
        untouched=("cls_head.*",),
    )
