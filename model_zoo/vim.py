"""Vim: the patches of an image through blocks that scan them from both ends.

Paper: arXiv:2401.09417. Reproduces hustvl/Vim@dd0358a, ``vim/models_mamba.py`` on the repository's
own ``mamba-1p1p1``, as released (``bimambav2``, ``midclstok``, ``div2``): the class token stands in
the middle of the patches, and each block halves the sum of its two scans.

Pixels at an end that do not fill a patch are left out. Deliberate differences: clips of one frame
(B, 3, 1, H, W) in place of images; frames need not be square. Not cross-checked: operation counts
(the repository has none) and released files (only their official loader was read).

Shapes: B images, D channels, M patches.
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.bimamba import BiMambaEncoder, Block
from model_zoo.layers.checks import require_size

FAMILY = Family(
    title="Vim",
    paper="arXiv:2401.09417",
    repository="hustvl/Vim@dd0358ad1e42701f22afbefa0717cc8825cf9f45",
    licence="Apache-2.0",
    has_attention=False,
)

_STEP_RANGE: Final = (0.001, 0.1)  # of the scans' step sizes in a new model


@dataclass(frozen=True, kw_only=True, slots=True)
class VimConfig:
    """Numbers of a variant; defaults are the tiny one's.

    Attributes:
        stride_px: Between patches; 8 in the models fine-tuned on longer sequences.
        drop_path_rate: Of the last addition to the residual; rises linearly from 0.
    """

    dim: int = 192
    depth: int = 24
    patch_px: int = 16
    stride_px: int = 16
    drop_path_rate: float = 0.0


class PatchEmbed(nn.Module):
    """Project each patch; patches overlap where the stride is smaller. Parameter `proj`."""

    def __init__(self, config: VimConfig) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, config.dim, config.patch_px, config.stride_px)

    def forward(self, images: Tensor) -> Tensor:
        """Embed: (B, 3, H, W) -> (B, M, D)."""
        return self.proj(images).flatten(2).transpose(1, 2)  # (B, M, D)


class HalvedBlock(Block):
    """A block that adds the mean of its two scans instead of their sum."""

    scale = 0.5


class Vim(BiMambaEncoder):
    """Images (B, 3, 1, H, W) to logits (B, num_classes)."""

    block = HalvedBlock

    def __init__(self, config: VimConfig, options: Options) -> None:
        grid = _patch_grid(config, options)
        num_patches = grid[0] * grid[1]
        super().__init__(config.dim, config.depth, config.drop_path_rate)
        self.options = options
        self.grid = grid
        self.place = num_patches // 2
        self.patch_embed = PatchEmbed(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, num_patches + 1, config.dim))
        self.head = nn.Linear(config.dim, options.one_head())
        _initialise(self)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, 1, H, W) -> (B, num_classes).

        Raises:
            UnsupportedInputError: Clips of another size than the model was built for.
        """
        require_size(clips, self.options)
        patches = self.patch_embed(clips.squeeze(2))
        cls_token = self.cls_token.expand(patches.shape[0], -1, -1)
        before, after = patches[:, : self.place], patches[:, self.place :]
        tokens = torch.cat((before, cls_token, after), dim=1) + self.pos_embed  # (B, M + 1, D)
        return self.head(self.encode(tokens, place=self.place))


def _patch_grid(config: VimConfig, options: Options) -> tuple[int, int]:
    """Whole patches along height and width; refuses videos and frames smaller than a patch."""
    if options.num_frames != 1:
        raise UnsupportedInputError(
            f"an image model takes clips of 1 frame, not: {options.num_frames}"
        )
    patch, stride = config.patch_px, config.stride_px
    if min(options.height_px, options.width_px) < patch:
        raise UnsupportedInputError(
            f"frames must hold a patch of {patch} x {patch} px, "
            f"got: {options.height_px} x {options.width_px}"
        )
    return (options.height_px - patch) // stride + 1, (options.width_px - patch) // stride + 1


def _initialise(model: Vim) -> None:
    """Initialise as the official code does; unlike VideoMamba's it keeps Mamba's step sizes."""
    kernel = model.patch_embed.proj.weight
    nn.init.trunc_normal_(kernel, std=math.prod(kernel.shape[1:]) ** -0.5)
    for table in (model.head.weight, model.pos_embed, model.cls_token):
        nn.init.trunc_normal_(table, std=0.02)
    for bias in (model.patch_embed.proj.bias, model.head.bias):
        assert bias is not None
        nn.init.zeros_(bias)
    low, high = (math.log(step) for step in _STEP_RANGE)
    for layer in model.layers:
        assert isinstance(layer, Block)
        mixer = layer.mixer
        for projection in (mixer.dt_proj, mixer.dt_proj_b):
            bound = mixer.rank**-0.5
            nn.init.uniform_(projection.weight, -bound, bound)
            steps = nn.init.uniform_(projection.bias, low, high).detach().exp()
            with torch.no_grad():  # softplus of the bias is the step size
                projection.bias.copy_(steps + torch.log(-torch.expm1(-steps)))
        with torch.no_grad():
            mixer.out_proj.weight.div_(len(model.layers) ** 0.5)


@register_model(family=FAMILY, clip=(1, 224, 224), num_classes=1000, label_space="imagenet1k")
def vim_tiny(options: Options) -> Vim:
    """Vim-tiny: 24 blocks of width 192."""
    return Vim(VimConfig(), options)


@register_model(family=FAMILY, clip=(1, 224, 224), num_classes=1000, label_space="imagenet1k")
def vim_small(options: Options) -> Vim:
    """Vim-small: 24 blocks of width 384."""
    return Vim(VimConfig(dim=384, drop_path_rate=0.05), options)
