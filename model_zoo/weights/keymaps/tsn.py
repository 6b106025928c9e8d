"""TSN's and TSM's files: MIT HAN Lab's own, mmaction2's, and the ImageNet ResNets they start from.

Sources: `ConvModule` names of open-mmlab/mmaction2@4d6c934 (mmaction/models/backbones/resnet.py,
resnet_tsm.py, heads/tsm_head.py) and torchvision's ResNet-50.
"""

import re

from torch import Tensor, nn

from model_zoo.weights.keymaps import Conversion


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Recognise the layout by the first convolution's name."""
    own = model.state_dict()
    if "backbone.conv1.conv.weight" in state:
        names = {mmaction2_name(name): name for name in own}
        renamed = {names.get(name, name): value for name, value in state.items()}
        return Conversion(state=renamed, notes=("mmaction2's names replaced",))
    if "conv1.weight" in state:
        names = {torchvision_name(name): name for name in own}
        trunk = {
            names.get(name, name): value
            for name, value in state.items()
            if not name.startswith("fc.")
        }
        return Conversion(
            state=trunk,
            notes=("an ImageNet ResNet: its classifier left out, `new_fc` as initialised",),
            untouched=("new_fc.*",),
        )
    return Conversion(state=state)


def torchvision_name(name: str) -> str:
    """Name in torchvision of one of our entries.

    >>> torchvision_name("base_model.layer1.0.conv1.net.weight")
    'layer1.0.conv1.weight'
    """
    return name.removeprefix("base_model.").replace(".net.", ".")


def mmaction2_name(name: str) -> str:
    """Name in mmaction2 of one of our entries.

    >>> mmaction2_name("base_model.layer1.0.conv1.net.weight")
    'backbone.layer1.0.conv1.conv.net.weight'
    >>> mmaction2_name("base_model.layer1.0.downsample.1.running_var")
    'backbone.layer1.0.downsample.bn.running_var'
    """
    if name.startswith("new_fc."):
        return name.replace("new_fc.", "cls_head.fc_cls.")
    name = name.replace("base_model.", "backbone.")
    name = name.replace(".downsample.0.", ".downsample.conv.")
    name = name.replace(".downsample.1.", ".downsample.bn.")
    name = re.sub(r"\.conv(\d)\.(net\.)?weight$", r".conv\1.conv.\2weight", name)
    return re.sub(r"\.bn(\d)\.", r".conv\1.bn.", name)
