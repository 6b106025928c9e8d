"""UMT: a plain ViT over frames, pre-trained to match an image teacher on the unmasked tokens.

Paper arXiv:2303.16058. Implementation reproduced: OpenGVLab/unmasked_teacher@4fb4049,
single_modality/models/modeling_finetune.py. The network is `layers/tubelet_vit.py` with one frame
a tubelet; this file holds its positions and sizes.

Positions are the sinusoid over the 8 x 14 x 14 tokens of pre-training, resized to the clip's own
tokens. A table of any other length than 1568 is an entry `pos_embed` of the checkpoint.

Differences:
- The official code declares that entry trainable but detaches it in the forward pass, so that it
  never changes; here it does not require a gradient.
- Learnable positions, layer scale and the class token, which no released model uses, are left out.

Classes are in UniFormer's order, the first 400 of Kinetics-710, not in alphabetical order.

Shapes: T x H x W tokens along time, height and width, N = T * H * W, D channels of a token.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.pos_embed import sinusoid_table
from model_zoo.layers.tubelet_vit import TubeletViT, TubeletViTConfig

FAMILY = Family(
    title="UMT",
    paper="arXiv:2303.16058",
    repository="OpenGVLab/unmasked_teacher@4fb4049",
    licence="MIT",
)

PRETRAINED_FRAMES = 8
PRETRAINED_PX = 224


class UMT(TubeletViT):
    """The student with a linear classifier on the mean token."""

    def __init__(self, config: TubeletViTConfig, options: Options) -> None:
        super().__init__(config, options)
        side = PRETRAINED_PX // config.patch_px
        table = sinusoid_table(PRETRAINED_FRAMES * side * side, config.dim)
        resized = _resized(table, side, self.patch_embed.grid)  # (1, N, D)
        if resized.shape == table.shape:
            self.register_buffer("pos_embed", resized, persistent=False)
        else:
            self.pos_embed = nn.Parameter(resized, requires_grad=False)


def _resized(table: Tensor, side: int, grid: tuple[int, int, int]) -> Tensor:
    """Resize the pre-training table over space, then over time: -> (1, T * H * W, D)."""
    T, H, W = grid
    if H != W:
        raise UnsupportedInputError(
            f"height and width must hold as many patches as each other, not {H} and {W}",
            hint="positions are resized from square frames to square frames",
        )
    D = table.shape[-1]
    places = table.reshape(PRETRAINED_FRAMES, side, side, D).permute(0, 3, 1, 2)  # (8, D, h, w)
    if side != H:
        places = F.interpolate(places, size=(H, W), mode="bicubic", align_corners=False)
    if T != PRETRAINED_FRAMES:
        times = places.permute(2, 3, 1, 0).reshape(H * W, D, PRETRAINED_FRAMES)  # (H*W, D, 8)
        times = F.interpolate(times, size=T, mode="linear", align_corners=False)  # (H*W, D, T)
        places = times.permute(2, 1, 0)  # (T, D, H*W)
    return places.flatten(2).transpose(1, 2).reshape(1, T * H * W, D)  # (1, T*H*W, D)


@register_model(family=FAMILY, clip=(8, 224, 224), label_space="kinetics400_uniformer")
def umt_base(options: Options) -> UMT:
    """ViT-B/16, 12 blocks of width 768, a token grid a frame."""
    config = TubeletViTConfig(dim=768, depth=12, num_heads=12, mlp_dim=3072, tubelet_frames=1)
    return UMT(config, options)


@register_model(family=FAMILY, clip=(8, 224, 224), label_space="kinetics400_uniformer")
def umt_large(options: Options) -> UMT:
    """ViT-L/16, 24 blocks of width 1024, a token grid a frame."""
    config = TubeletViTConfig(
        dim=1024,
        depth=24,
        num_heads=16,
        mlp_dim=4096,
        tubelet_frames=1,
        drop_path_rate=0.2,
    )
    return UMT(config, options)
