"""The image Swin's files, which Video Swin starts from. Its own files need nothing.

Source: SwinTransformer/Video-Swin-Transformer@db018fb, `inflate_weights` of
mmaction/models/backbones/swin_transformer.py: the patch kernel is repeated over its frames and
divided by their number, each bias table is repeated for every temporal offset (resized before,
where the windows differ in space), and index, mask and head are left out.
"""

from math import isqrt

from torch import Tensor, nn

from model_zoo.video_swin import VideoSwin
from model_zoo.weights.keymaps import Conversion
from model_zoo.weights.tables import inflate_mean, resize_2d

_KERNEL = "patch_embed.proj.weight"
_TABLE = ".relative_position_bias_table"
_LEFT_OUT = (".relative_position_index", ".attn_mask")


def convert(state: dict[str, Tensor], model: nn.Module) -> Conversion:
    """Inflate an image model's weights; leave a video model's as they are."""
    assert isinstance(model, VideoSwin)
    if _KERNEL not in state or state[_KERNEL].ndim != 4:
        return Conversion(state=state)
    window = model.window
    inflated = {}
    for name, value in state.items():
        if name.endswith(_LEFT_OUT) or name.startswith("head."):
            continue
        if name == _KERNEL:
            value = inflate_mean(value, model.state_dict()[f"backbone.{name}"].shape[2])
        elif name.endswith(_TABLE):
            value = _over_time(value, window)
        inflated[f"backbone.{name}"] = value
    return Conversion(
        state=inflated,
        notes=(
            "prefix `backbone.` added to every name",
            "patch kernel of an image model repeated over its frames, and averaged",
            f"bias tables of an image model repeated for {2 * window[0] - 1} temporal offsets",
            "head of the image model left out",
        ),
        untouched=("cls_head.*", "*.relative_position_index"),
    )


def _over_time(table: Tensor, window: tuple[int, int, int]) -> Tensor:
    """Give offsets in space to each in time: (h * w, heads) -> (T * H * W, heads), odd sides."""
    T, H, W = (2 * side - 1 for side in window)
    side = isqrt(len(table))
    grid = resize_2d(table.unsqueeze(0), (H, W), old_grid=(side, side))  # (1, H * W, heads)
    return grid[0].repeat(T, 1)
