"""UniFormer: convolutions relate neighbours in shallow stages, attention all tokens in deep ones.

Paper: arXiv:2201.04676. Reproduces Sense-X/UniFormer@52a0415,
``video_classification/slowfast/models/uniformer.py``, without the split and light variants.

Deliberate differences: a clip is one tensor, not PySlowFast's list of pathways; layers that the
released configurations leave inert (dropout 0, ``pre_logits``) are not built.

Shapes: B clips, T frames, H and W pixels or places of the stage's grid, C channels, N = T H W.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.attention import SelfAttention
from model_zoo.layers.drop_path import DropPath, drop_path_rates
from model_zoo.layers.mlp import Mlp

FAMILY = Family(
    title="UniFormer",
    paper="arXiv:2201.04676",
    repository="Sense-X/UniFormer@52a0415",
    licence="Apache-2.0",
)

_TOTAL_STRIDE_PX = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class UniFormerConfig:
    """Dimensions of a variant, one number a stage where there are four.

    Attributes:
        drop_path_rate: Of the last block; rises linearly from 0.
    """

    dims: tuple[int, int, int, int] = (64, 128, 320, 512)
    depths: tuple[int, int, int, int] = (3, 4, 8, 3)
    head_dim: int = 64
    mlp_ratio: int = 4
    drop_path_rate: float = 0.1


class PatchEmbed(nn.Module):
    """A convolution that makes the grid coarser, then a norm over channels."""

    def __init__(
        self,
        in_dim: int,
        dim: int,
        *,
        kernel: tuple[int, int, int],
        stride: tuple[int, int, int],
        padding: tuple[int, int, int] = (0, 0, 0),
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.proj = nn.Conv3d(in_dim, dim, kernel, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        """Embed: (B, C_in, T, H, W) -> (B, C, T', H', W')."""
        x = self.proj(x).permute(0, 2, 3, 4, 1)  # (B, T', H', W', C)
        return self.norm(x).permute(0, 4, 1, 2, 3)  # (B, C, T', H', W')


class ConvMlp(nn.Module):
    """`Mlp` as convolutions of kernel 1."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv3d(dim, hidden_dim, 1)
        self.fc2 = nn.Conv3d(hidden_dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each place: (B, C, T, H, W) -> (B, C, T, H, W)."""
        return self.fc2(F.gelu(self.fc1(x)))


def _depthwise(dim: int, kernel: int) -> nn.Conv3d:
    return nn.Conv3d(dim, dim, kernel, padding=kernel // 2, groups=dim)


class LocalBlock(nn.Module):
    """Position encoding, a 5x5x5 neighbourhood in place of attention, MLP; norms over batches."""

    def __init__(self, dim: int, config: UniFormerConfig, *, drop_path_rate: float) -> None:
        super().__init__()
        self.pos_embed = _depthwise(dim, 3)
        self.norm1 = nn.BatchNorm3d(dim)
        self.conv1 = nn.Conv3d(dim, dim, 1)
        self.conv2 = nn.Conv3d(dim, dim, 1)
        self.attn = _depthwise(dim, 5)
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = nn.BatchNorm3d(dim)
        self.mlp = ConvMlp(dim, config.mlp_ratio * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Relate neighbours: (B, C, T, H, W) -> (B, C, T, H, W)."""
        x = x + self.pos_embed(x)
        x = x + self.drop_path(self.conv2(self.attn(self.conv1(self.norm1(x)))))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class GlobalBlock(nn.Module):
    """Position encoding, attention among all N tokens of space and time, MLP."""

    def __init__(
        self, dim: int, config: UniFormerConfig, *, drop_path_rate: float, attention: str
    ) -> None:
        super().__init__()
        self.pos_embed = _depthwise(dim, 3)
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = SelfAttention(dim, dim // config.head_dim, attention=attention)
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, config.mlp_ratio * dim)

    def forward(self, x: Tensor) -> Tensor:
        """Relate all places: (B, C, T, H, W) -> (B, C, T, H, W)."""
        shape = x.shape
        x = x + self.pos_embed(x)
        x = x.flatten(2).transpose(1, 2)  # (B, N, C)
        x = x + self.drop_path(self.attn(self.norm1(x)))
        x = x + self.drop_path(self.mlp(self.norm2(x)))
        return x.transpose(1, 2).reshape(shape)  # (B, C, T, H, W)


class UniFormer(nn.Module):
    """Four stages of blocks, each on a grid half as fine as the one before.

    Nothing depends on the clip's size: any frame count, any height and width from 32 px (what the
    strides leave over at the right and bottom is cut, as in the official code).
    """

    def __init__(self, config: UniFormerConfig, options: Options) -> None:
        super().__init__()
        _require_size(options.height_px, options.width_px)
        dims, last = config.dims, config.dims[-1]
        self.patch_embed1 = PatchEmbed(
            3, dims[0], kernel=(3, 4, 4), stride=(2, 4, 4), padding=(1, 0, 0)
        )
        self.patch_embed2 = _halve(dims[0], dims[1])
        self.patch_embed3 = _halve(dims[1], dims[2])
        self.patch_embed4 = _halve(dims[2], dims[3])
        rates = iter(drop_path_rates(config.drop_path_rate, sum(config.depths)))

        def local_stage(stage: int) -> nn.ModuleList:
            return nn.ModuleList(
                LocalBlock(dims[stage], config, drop_path_rate=next(rates))
                for _ in range(config.depths[stage])
            )

        def global_stage(stage: int) -> nn.ModuleList:
            return nn.ModuleList(
                GlobalBlock(
                    dims[stage], config, drop_path_rate=next(rates), attention=options.attention
                )
                for _ in range(config.depths[stage])
            )

        self.blocks1 = local_stage(0)
        self.blocks2 = local_stage(1)
        self.blocks3 = global_stage(2)
        self.blocks4 = global_stage(3)
        self.norm = nn.BatchNorm3d(last)
        self.head = nn.Linear(last, options.one_head())
        self.apply(_initialise)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes).

        Raises:
            UnsupportedInputError: Clips are smaller than 32 px.
        """
        _require_size(*clips.shape[-2:])
        x = clips
        for embed, blocks in (
            (self.patch_embed1, self.blocks1),
            (self.patch_embed2, self.blocks2),
            (self.patch_embed3, self.blocks3),
            (self.patch_embed4, self.blocks4),
        ):
            x = embed(x)
            for block in blocks:
                x = block(x)
        return self.head(self.norm(x).mean(dim=(2, 3, 4)))


def _halve(in_dim: int, dim: int) -> PatchEmbed:
    return PatchEmbed(in_dim, dim, kernel=(1, 2, 2), stride=(1, 2, 2))


def _require_size(height_px: int, width_px: int) -> None:
    if min(height_px, width_px) < _TOTAL_STRIDE_PX:
        raise UnsupportedInputError(
            f"uniformer needs height and width of at least {_TOTAL_STRIDE_PX} px: "
            f"{height_px} x {width_px}"
        )


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)


@register_model(family=FAMILY, clip=(16, 224, 224), label_space="kinetics400_uniformer")
def uniformer_small(options: Options) -> UniFormer:
    """18 blocks, 21.4 M parameters."""
    return UniFormer(UniFormerConfig(), options)


@register_model(family=FAMILY, clip=(16, 224, 224), label_space="kinetics400_uniformer")
def uniformer_base(options: Options) -> UniFormer:
    """40 blocks, 49.8 M parameters."""
    return UniFormer(UniFormerConfig(depths=(5, 8, 20, 7), drop_path_rate=0.3), options)


@register_model(
    family=FAMILY,
    clip=(8, 32, 32),
    num_classes={"verb": 12, "noun": 8},
    label_space="motion",
)
def uniformer_nano(options: Options) -> UniFormer:
    """For the motion benchmark: 4 blocks, 24 to 96 channels."""
    config = UniFormerConfig(
        dims=(24, 48, 64, 96), depths=(1, 1, 1, 1), head_dim=32, drop_path_rate=0.0
    )
    return UniFormer(config, options)
