"""VideoMamba's image files: a distillation head left out, places resized to another frame size.

Source: OpenGVLab/VideoMamba@f3427e4, ``videomamba/image_sm`` (``models/videomamba_distill.py`` adds
the head of distillation to the student's files; fine-tuning resizes ``pos_embed`` bicubic).
"""

from torch import Tensor, nn

from model_zoo.videomamba_image import VideoMambaImage
from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.keymaps.videomamba import (
    DISTILLATION_ONLY,
    drop,
    resize_places,
    without_prefixes,
)


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Drop and resize what the official code does."""
    assert isinstance(model, VideoMambaImage)
    state = without_prefixes(state)
    notes = drop(state, DISTILLATION_ONLY)
    notes += resize_places(state, model.pos_embed, model.grid)
    return Conversion(state=state, notes=notes)
