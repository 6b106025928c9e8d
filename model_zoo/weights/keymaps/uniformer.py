"""UniFormer's ImageNet files, which the video models start from. Its video files need nothing.

Source: Sense-X/UniFormer@52a0415, `get_pretrained_model` of video_classification/slowfast/models/
uniformer.py: every 2-D kernel is repeated over the frames of the 3-D one and divided by their
number, and a head of other classes is left out.
"""

from torch import Tensor, nn

from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.tables import inflate_mean


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Inflate an image model's kernels; leave a video model's as they are."""
    own = model.state_dict()
    flat = {
        name
        for name, value in state.items()
        if name in own and value.ndim == 4 and own[name].ndim == 5
    }
    if not flat:
        return Conversion(state=state)
    inflated = {
        name: inflate_mean(value, own[name].shape[2]) if name in flat else value
        for name, value in state.items()
    }
    notes = [f"{len(flat)} kernels of an image model repeated over their frames, and averaged"]
    if "head.weight" not in state or state["head.weight"].shape == own["head.weight"].shape:
        return Conversion(state=inflated, notes=notes)
    notes.append(f"head of {len(state['head.weight'])} classes left out")
    without_head = {name: value for name, value in inflated.items() if not name.startswith("head.")}
    return Conversion(state=without_head, notes=notes, untouched=("head.*",))
