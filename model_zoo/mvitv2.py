"""MViTv2: a pyramid of transformer blocks that pool queries, keys and values by convolution.

Paper: arXiv:2112.01526. Reproduces facebookresearch/SlowFast@287ec00, ``MViT`` of
``slowfast/models/video_model_builder.py`` with ``models/attention.py``, as configured by
``configs/Kinetics/MVITv2_{S_16x4,B_32x3}.yaml``.

Deliberate differences: a clip is one tensor, not a list of pathways; logits leave the model, where
the official head applies softmax in eval mode; the relative position bias is computed before the
scores, so that a fused kernel can take it.

Shapes: B clips, T frames or temporal places, H and W pixels or places, h heads, C channels of a
head, D of a token, N = 1 + T H W tokens, the class token first.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.attention import attend
from model_zoo.layers.drop_path import DropPath, drop_path_rates
from model_zoo.layers.mlp import Mlp

FAMILY = Family(
    title="MViTv2",
    paper="arXiv:2112.01526",
    repository="facebookresearch/SlowFast@287ec00",
    licence="Apache-2.0",
)

Grid = tuple[int, int, int]

_EPS = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class MViTv2Config:
    """Dimensions of a variant.

    Attributes:
        dim: Channels of the first block's tokens; also of every head.
        widening: Blocks that double channels and heads and halve the grid's height and width.
        kv_stride: In space, of the first block; halved by each widening, so that all blocks
            attend to about as many keys.
        drop_path_rate: Of the last block; rises linearly from 0.
        dropout: Before the classifier.
    """

    dim: int = 96
    depth: int = 16
    widening: tuple[int, ...] = (1, 3, 14)
    patch_kernel: Grid = (3, 7, 7)
    patch_stride: Grid = (2, 4, 4)
    kv_stride: int = 8
    mlp_ratio: int = 4
    drop_path_rate: float = 0.2
    dropout: float = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class BlockShape:
    """What differs between blocks.

    Attributes:
        grid: Places of the block's input.
        table_side: Height and width that the official code sizes the block's tables for: halved
            and rounded down at each step, where the pooling convolutions round up.
        q_stride: In space; so `kv_stride`. Time is never pooled.
    """

    dim: int
    dim_out: int
    num_heads: int
    grid: Grid
    table_side: int
    q_stride: int
    kv_stride: int


def block_shapes(config: MViTv2Config, grid: Grid) -> Iterator[BlockShape]:
    """The shapes of all blocks, the first of which has `grid` as its input."""
    dim, num_heads, kv_stride, table_side = config.dim, 1, config.kv_stride, grid[1]
    for index in range(config.depth):
        factor = 2 if index in config.widening else 1
        num_heads *= factor
        kv_stride = max(kv_stride // factor, 1)
        yield BlockShape(
            dim=dim,
            dim_out=dim * factor,
            num_heads=num_heads,
            grid=grid,
            table_side=table_side,
            q_stride=factor,
            kv_stride=kv_stride,
        )
        dim *= factor
        table_side //= factor
        grid = _pooled_grid(grid, factor)


def _pooled_grid(grid: Grid, stride: int) -> Grid:
    T, H, W = grid
    return T, -(-H // stride), -(-W // stride)


def _on_grid(pool: nn.Module, x: Tensor, grid: Grid) -> Tensor:
    """Pool all tokens but the class token: (B, h, N, C) -> (B, h, N', C)."""
    B, h, _, C = x.shape
    class_token, places = x[:, :, :1], x[:, :, 1:]
    places = places.reshape(B * h, *grid, C).permute(0, 4, 1, 2, 3)  # (B * h, C, T, H, W)
    places = pool(places.contiguous())  # (B * h, C, T', H', W')
    places = places.reshape(B, h, C, -1).transpose(2, 3)  # (B, h, N' - 1, C)
    return torch.cat((class_token, places), dim=2)


def offset_rows(num_queries: int, num_keys: int) -> Tensor:
    """Rows of a table of 2 max(q, k) - 1 offsets along one axis, for each pair: (q, k).

    >>> offset_rows(2, 4).tolist()
    [[3, 2, 1, 0], [5, 4, 3, 2]]
    """
    # float32 and this order are the official ones: for ratios that float32 cannot hold, rounding
    # decides between two neighbouring rows.
    q_step = max(num_keys / num_queries, 1.0)
    k_step = max(num_queries / num_keys, 1.0)
    queries = torch.arange(num_queries, dtype=torch.float32)[:, None] * q_step
    keys = torch.arange(num_keys, dtype=torch.float32)[None, :] * k_step
    return (queries - keys + (num_keys - 1) * k_step).long()


def _look_up(table: Tensor, rows: Tensor) -> Tensor:
    """Take `rows` of a table resized to their axis: (offsets, C) -> (q, k, C)."""
    num_offsets = 2 * max(rows.shape) - 1
    if table.shape[0] != num_offsets:
        channels = table.T.unsqueeze(0)  # (1, C, offsets)
        table = F.interpolate(channels, num_offsets, mode="linear")[0].T
    return table[rows]


class PooledAttention(nn.Module):
    """Attention whose queries, keys and values are pooled, with decomposed relative positions."""

    rows_t: Tensor
    rows_side: Tensor

    def __init__(self, shape: BlockShape, *, attention: str) -> None:
        super().__init__()
        self.num_heads = shape.num_heads
        self.attention = attention
        self.grid = shape.grid
        self.q_grid = _pooled_grid(shape.grid, shape.q_stride)
        self.k_grid = _pooled_grid(shape.grid, shape.kv_stride)
        head_dim = shape.dim_out // shape.num_heads
        self.qkv = nn.Linear(shape.dim, 3 * shape.dim_out)
        self.proj = nn.Linear(shape.dim_out, shape.dim_out)
        self.pool_q = _depthwise(head_dim, shape.q_stride)
        self.norm_q = nn.LayerNorm(head_dim, eps=_EPS)
        self.pool_k = _depthwise(head_dim, shape.kv_stride)
        self.norm_k = nn.LayerNorm(head_dim, eps=_EPS)
        self.pool_v = _depthwise(head_dim, shape.kv_stride)
        self.norm_v = nn.LayerNorm(head_dim, eps=_EPS)
        side = max(shape.table_side // shape.q_stride, shape.table_side // shape.kv_stride)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * side - 1, head_dim))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * side - 1, head_dim))
        self.rel_pos_t = nn.Parameter(torch.zeros(2 * shape.grid[0] - 1, head_dim))
        for name, axis in (("rows_t", 0), ("rows_side", 1)):
            rows = offset_rows(self.q_grid[axis], self.k_grid[axis])
            self.register_buffer(name, rows, persistent=False)
        for table in (self.rel_pos_h, self.rel_pos_w, self.rel_pos_t):
            nn.init.trunc_normal_(table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Attend: (B, N, D) -> (B, N', D')."""
        B, N, _ = x.shape
        qkv = self.qkv(x).reshape(B, N, 3, self.num_heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (B, h, N, C)
        q = self.norm_q(_on_grid(self.pool_q, q, self.grid))
        k = self.norm_k(_on_grid(self.pool_k, k, self.grid))
        v = self.norm_v(_on_grid(self.pool_v, v, self.grid))
        y = attend(q, k, v, backend=self.attention, bias=self._position_bias(q))
        # Residual pooling: the query is added to what it gathered, but for the class token.
        y = torch.cat((y[:, :, :1], y[:, :, 1:] + q[:, :, 1:]), dim=2)
        return self.proj(y.transpose(1, 2).flatten(2))  # (B, N', D')

    def _position_bias(self, q: Tensor) -> Tensor:
        """What each query gives each key for their offset: (B, h, N, C) -> (B, h, N, M)."""
        places = q[:, :, 1:].unflatten(2, self.q_grid)  # (B, h, T, H, W, C)
        along_t = _look_up(self.rel_pos_t, self.rows_t)
        along_h = _look_up(self.rel_pos_h, self.rows_side)
        along_w = _look_up(self.rel_pos_w, self.rows_side)
        rel_t = torch.einsum("bythwc,tkc->bythwk", places, along_t)
        rel_h = torch.einsum("bythwc,hkc->bythwk", places, along_h)
        rel_w = torch.einsum("bythwc,wkc->bythwk", places, along_w)
        bias = rel_t[..., :, None, None] + rel_h[..., None, :, None] + rel_w[..., None, None, :]
        bias = bias.flatten(5).flatten(2, 4)  # (B, h, N - 1, M - 1)
        # The class token has no place, so no bias. Rows start at multiples of 8 elements, which
        # fused kernels ask for: torch would copy the bias again to get there.
        M = bias.shape[-1] + 1
        return F.pad(bias, (1, -M % 8, 1, 0))[..., :M]


def _depthwise(dim: int, stride: int) -> nn.Conv3d:
    return nn.Conv3d(dim, dim, 3, (1, stride, stride), padding=1, groups=dim, bias=False)


class Block(nn.Module):
    """Pooled attention and an MLP; the residual is widened and max-pooled to match."""

    def __init__(
        self, shape: BlockShape, *, mlp_ratio: int, drop_path_rate: float, attention: str
    ) -> None:
        super().__init__()
        self.grid = shape.grid
        self.norm1 = nn.LayerNorm(shape.dim, eps=_EPS)
        self.attn = PooledAttention(shape, attention=attention)
        self.drop_path = DropPath(drop_path_rate)
        self.norm2 = nn.LayerNorm(shape.dim_out, eps=_EPS)
        self.mlp = Mlp(shape.dim_out, mlp_ratio * shape.dim_out)
        self.proj = nn.Linear(shape.dim, shape.dim_out) if shape.dim != shape.dim_out else None
        self.pool_skip = _max_pool(shape.q_stride) if shape.q_stride > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        """Transform: (B, N, D) -> (B, N', D')."""
        normed = self.norm1(x)
        skip = x if self.proj is None else self.proj(normed)
        if self.pool_skip is not None:
            skip = _on_grid(self.pool_skip, skip.unsqueeze(1), self.grid).squeeze(1)
        x = skip + self.drop_path(self.attn(normed))
        return x + self.drop_path(self.mlp(self.norm2(x)))


def _max_pool(stride: int) -> nn.MaxPool3d:
    kernel = stride + 1
    return nn.MaxPool3d((1, kernel, kernel), (1, stride, stride), (0, kernel // 2, kernel // 2))


class PatchEmbed(nn.Module):
    """Overlapping convolution: one token for 2 frames of 4 x 4 px."""

    def __init__(self, config: MViTv2Config) -> None:
        super().__init__()
        t, h, w = config.patch_kernel
        padding = (t // 2, h // 2, w // 2)
        self.proj = nn.Conv3d(3, config.dim, config.patch_kernel, config.patch_stride, padding)

    def forward(self, clips: Tensor) -> Tensor:
        """Embed: (B, 3, T, H, W) -> (B, D, T', H', W')."""
        return self.proj(clips)


class Head(nn.Module):
    """Dropout and a linear classifier."""

    def __init__(self, dim: int, num_classes: int, *, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.projection = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Classify: (B, D) -> (B, num_classes)."""
        return self.projection(F.dropout(x, self.dropout, self.training))


class MViTv2(nn.Module):
    """Patches, blocks, and a classifier on the class token.

    Tables are sized for the clips that the options name, and those are what it takes. As in the
    official code they are square, and whole in patches.
    """

    def __init__(self, config: MViTv2Config, options: Options) -> None:
        super().__init__()
        self.clip = (options.num_frames, options.height_px, options.width_px)
        self.grid = _patch_grid(config, self.clip)
        self.patch_embed = PatchEmbed(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        rates = drop_path_rates(config.drop_path_rate, config.depth)
        self.blocks = nn.ModuleList(
            Block(
                shape,
                mlp_ratio=config.mlp_ratio,
                drop_path_rate=rate,
                attention=options.attention,
            )
            for shape, rate in zip(block_shapes(config, self.grid), rates, strict=True)
        )
        dim = config.dim << len(config.widening)
        self.norm = nn.LayerNorm(dim, eps=_EPS)
        self.head = Head(dim, options.one_head(), dropout=config.dropout)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        self.apply(_initialise)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes).

        Raises:
            UnsupportedInputError: Clips give another grid of patches than the model was built for.
        """
        x = self.patch_embed(clips)  # (B, D, T', H', W')
        if x.shape[2:] != self.grid:
            raise UnsupportedInputError(
                f"built for clips of (T, H, W) = {self.clip}, got: {tuple(clips.shape[2:])}",
                hint="create the model with that num_frames and resolution",
            )
        class_token = self.cls_token.expand(x.shape[0], -1, -1)
        x = torch.cat((class_token, x.flatten(2).transpose(1, 2)), dim=1)  # (B, N, D)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x)[:, 0])


def _patch_grid(config: MViTv2Config, clip: Grid) -> Grid:
    """Places of the first block; refuses clips that the official code cannot take."""
    (t, h, w), (T, H, W) = config.patch_stride, clip
    smallest_px = h << len(config.widening)  # below it the last block's tables would be empty
    if H != W or T % t or H % h or smallest_px > H:
        raise UnsupportedInputError(
            f"mvitv2 takes a multiple of {t} frames and square clips of a multiple of {h} px, "
            f"at least {smallest_px} px: {T} x {H} x {W}"
        )
    return T // t, H // h, W // w


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv3d):
        nn.init.trunc_normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear | nn.LayerNorm):
        nn.init.constant_(module.bias, 0.02)


@register_model(family=FAMILY, clip=(16, 224, 224))
def mvitv2_small(options: Options) -> MViTv2:
    """16 blocks, 34.5 M parameters."""
    return MViTv2(MViTv2Config(), options)


@register_model(family=FAMILY, clip=(32, 224, 224))
def mvitv2_base(options: Options) -> MViTv2:
    """24 blocks, 51.2 M parameters."""
    config = MViTv2Config(depth=24, widening=(2, 5, 21), drop_path_rate=0.3)
    return MViTv2(config, options)


@register_model(
    family=FAMILY,
    clip=(8, 32, 32),
    num_classes={"verb": 12, "noun": 8},
    label_space="motion",
)
def mvitv2_nano(options: Options) -> MViTv2:
    """For the motion benchmark: 4 blocks, 24 channels at first."""
    config = MViTv2Config(
        dim=24, depth=4, widening=(1, 3), kv_stride=4, drop_path_rate=0.0, dropout=0.0
    )
    return MViTv2(config, options)
