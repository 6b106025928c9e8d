"""EVL: a light decoder that reads the last blocks of a frozen CLIP tower, frame by frame.

Paper: arXiv:2208.03550. Official: OpenGVLab/efficient-video-recognition@b282e8b, ``model.py``,
``vision_transformer.py``. Names are those of its 'finetune' mode, where the backbone is a module.

Differences from the official code: the backbone is part of the state dict although it is frozen,
and runs in the precision of the model (official inference keeps its linear weights in fp16); only
the blocks that the decoder reads keep their queries and keys; LayerNorm in the precision of its
input (torch accumulates halves in float32).

Shapes: B batch, T frames, h and w patches along the sides of a frame, S = h*w, N = 1 + S tokens of
a frame (class token first, then patches row by row), D channels, C channels of a head.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.attention import attend
from model_zoo.layers.checks import patch_grid, require_size
from model_zoo.layers.clip import quick_gelu

FAMILY = Family(
    title="EVL",
    paper="arXiv:2208.03550",
    repository="OpenGVLab/efficient-video-recognition@b282e8b",
    licence="not stated",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class EvlConfig:
    """Numbers of a variant; defaults are ViT-B/16's.

    Attributes:
        decoder_depth: Decoder layers; each reads one of that many last blocks of the backbone.
        decoder_dim: Width of the decoder's queries, keys and values.
        mlp_dropout: In the decoder's perceptrons, while training.
        head_dropout: Before the classifier, while training.
        has_temporal_convolution: Add a depthwise convolution over time to the frames' tokens.
        has_temporal_positions: Add a learned table over time to the frames' tokens.
        has_temporal_attention: Add features of the attention maps between adjacent frames.
    """

    patch_px: int = 16
    dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: int = 4
    decoder_depth: int = 4
    decoder_dim: int = 768
    decoder_num_heads: int = 12
    mlp_dropout: float = 0.5
    head_dropout: float = 0.5
    has_temporal_convolution: bool = True
    has_temporal_positions: bool = True
    has_temporal_attention: bool = True


_LARGE = EvlConfig(
    patch_px=14, dim=1024, depth=24, num_heads=16, decoder_dim=1024, decoder_num_heads=16
)


class Attention(nn.Module):
    """Multi-head attention of queries from one sequence to keys and values of another."""

    def __init__(self, dim: int, inner_dim: int, num_heads: int, *, attention: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention = attention
        self.q_proj = nn.Linear(dim, inner_dim)
        self.k_proj = nn.Linear(dim, inner_dim)
        self.v_proj = nn.Linear(dim, inner_dim)
        self.out_proj = nn.Linear(inner_dim, dim)
        for projection in (self.q_proj, self.k_proj, self.v_proj, self.out_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Attend from x (B, N, D) to y (B, M, D).

        Returns:
            (B, N, D), and the queries (B, heads, N, C) and keys (B, heads, M, C), unscaled.
        """
        q = self._split_heads(self.q_proj(x))
        k = self._split_heads(self.k_proj(y))
        v = self._split_heads(self.v_proj(y))
        mixed = attend(q, k, v, backend=self.attention)
        return self.out_proj(mixed.transpose(1, 2).flatten(2)), q, k

    def _split_heads(self, x: Tensor) -> Tensor:
        B, N, D = x.shape
        x = x.reshape(B, N, self.num_heads, D // self.num_heads)
        return x.transpose(1, 2)  # (B, heads, N, C)


class Mlp(nn.Module):
    """Linear, QuickGELU, dropout, linear."""

    def __init__(self, dim: int, hidden_dim: int, *, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.fc2 = nn.Linear(hidden_dim, dim)
        for layer in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.normal_(layer.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Transform each token: (..., D) -> (..., D)."""
        x = F.dropout(quick_gelu(self.fc1(x)), self.dropout, self.training)
        return self.fc2(x)


class BlockFeatures(NamedTuple):
    """What a decoder layer reads of a backbone block.

    Attributes:
        out: Output of the block, not normalised, (B, T, N, D).
        q: Queries of its attention, unscaled, (B, T, heads, N, C).
        k: Keys, likewise.
    """

    out: Tensor
    q: Tensor
    k: Tensor


class EncoderLayer(nn.Module):
    """A block of the CLIP tower, giving its queries and keys too."""

    def __init__(self, config: EvlConfig, *, attention: str) -> None:
        super().__init__()
        dim = config.dim
        self.norm1 = nn.LayerNorm(dim)
        self.attn = Attention(dim, dim, config.num_heads, attention=attention)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, config.mlp_ratio * dim, dropout=0.0)

    def forward(self, x: Tensor) -> BlockFeatures:
        """Transform the tokens of each frame: (B*T, N, D) -> the same, queries and keys."""
        normed = self.norm1(x)
        y, q, k = self.attn(normed, normed)
        x = x + y
        return BlockFeatures(x + self.mlp(self.norm2(x)), q, k)


class PatchEmbed(nn.Module):
    """Project each patch, flattened as (3, row, column), by one linear layer."""

    def __init__(self, dim: int, patch_px: int) -> None:
        super().__init__()
        self.patch_px = patch_px
        self.proj = nn.Linear(3 * patch_px**2, dim)

    def forward(self, frames: Tensor) -> Tensor:
        """Embed patches: (B*T, 3, H, W) -> (B*T, S, D)."""
        p = self.patch_px
        h, w = frames.shape[2] // p, frames.shape[3] // p
        x = frames.reshape(-1, 3, h, p, w, p)  # (B*T, 3, h, p, w, p)
        x = x.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)  # (B*T, S, 3*p*p)
        return self.proj(x)


class Backbone(nn.Module):
    """CLIP's visual tower without its last norm and projection."""

    def __init__(self, config: EvlConfig, num_patches: int, *, attention: str) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config.dim, config.patch_px)
        self.cls_token = nn.Parameter(0.02 * torch.randn(config.dim))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1 + num_patches, config.dim))
        self.ln_pre = nn.LayerNorm(config.dim)
        self.blocks = nn.ModuleList(
            EncoderLayer(config, attention=attention) for _ in range(config.depth)
        )
        self.first_read = config.depth - config.decoder_depth

    def forward(self, frames: Tensor) -> list[BlockFeatures]:
        """Features of the last blocks, in order, of frames (B*T, 3, H, W); axis 0 is B*T."""
        patches = self.patch_embed(frames)
        class_tokens = self.cls_token.expand(len(patches), 1, -1)  # (B*T, 1, D)
        x = self.ln_pre(torch.cat((class_tokens, patches), dim=1) + self.pos_embed)
        features = []
        for i, block in enumerate(self.blocks):
            block_features = block(x)
            x = block_features.out
            if i >= self.first_read:
                features.append(block_features)
        return features


class TemporalCrossAttention(nn.Module):
    """Features of how the patches of adjacent frames attend to each other; there are no values.

    The attention map from a frame to its neighbour, averaged over heads, weights a learned vector
    for each offset between two places: `w1` towards the previous frame, `w2` towards the next.
    Maps are the result here, so every attention backend materialises them.
    """

    offsets: Tensor

    def __init__(self, dim: int, grid: tuple[int, int]) -> None:
        super().__init__()
        h, w = grid
        num_offsets = (2 * h - 1) * (2 * w - 1)
        self.w1 = nn.Parameter(torch.zeros(num_offsets, dim))
        self.w2 = nn.Parameter(torch.zeros(num_offsets, dim))
        self.register_buffer("offsets", _offset_index(grid), persistent=False)

    def forward(self, q: Tensor, k: Tensor) -> Tensor:
        """Relate frames: (B, T, heads, N, C) queries and keys -> (B, T, N, D)."""
        previous = self._features(q[:, 1:], k[:, :-1], self.w1)
        following = self._features(q[:, :-1], k[:, 1:], self.w2)
        # The class token gets nothing; nor do the first frame from before and the last from after.
        return F.pad(previous, (0, 0, 1, 0, 1, 0)) + F.pad(following, (0, 0, 1, 0, 0, 1))

    def _features(self, q: Tensor, k: Tensor, table: Tensor) -> Tensor:
        q, k = q[..., 1:, :], k[..., 1:, :]  # (B, T-1, heads, S, C): patches only
        scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)  # (B, T-1, heads, S, S)
        maps = scores.softmax(dim=-1).mean(dim=2)  # (B, T-1, S, S)
        return torch.einsum("btqk,qkd->btqd", maps, table[self.offsets])


def _offset_index(grid: tuple[int, int]) -> Tensor:
    """Row of the offset table for each pair of places, row by row: (S, S)."""
    h, w = grid
    rows, columns = torch.arange(h), torch.arange(w)
    row_offset = rows[:, None] - rows + h - 1  # (h, h)
    column_offset = columns[:, None] - columns + w - 1  # (w, w)
    index = row_offset[:, None, :, None] * (2 * w - 1) + column_offset[:, None]  # (h, w, h, w)
    return index.reshape(h * w, h * w)


class DecoderLayer(nn.Module):
    """A query token attends to the tokens of all frames."""

    def __init__(self, config: EvlConfig, *, attention: str) -> None:
        super().__init__()
        dim = config.dim
        self.norm1 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)
        self.attn = Attention(
            dim, config.decoder_dim, config.decoder_num_heads, attention=attention
        )
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim, config.mlp_ratio * dim, dropout=config.mlp_dropout)

    def forward(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Update the query: (B, 1, D) and tokens (B, T*N, D) -> (B, 1, D)."""
        y, _, _ = self.attn(self.norm1(x), self.norm3(tokens))
        x = x + y
        return x + self.mlp(self.norm2(x))


class Decoder(nn.Module):
    """Layers of one query token, each reading one backbone block made aware of time."""

    def __init__(
        self, config: EvlConfig, grid: tuple[int, int], num_frames: int, *, attention: str
    ) -> None:
        super().__init__()
        dim, layers = config.dim, range(config.decoder_depth)
        self.cls_token = nn.Parameter(torch.zeros(dim))
        self.decoder_layers = nn.ModuleList(
            DecoderLayer(config, attention=attention) for _ in layers
        )
        self.temporal_conv = self.temporal_pos_embed = self.cross_attention = None
        if config.has_temporal_convolution:
            self.temporal_conv = nn.ModuleList(
                nn.Conv1d(dim, dim, kernel_size=3, padding=1, groups=dim) for _ in layers
            )
        if config.has_temporal_positions:
            self.temporal_pos_embed = nn.ParameterList(torch.zeros(num_frames, dim) for _ in layers)
        if config.has_temporal_attention:
            self.cross_attention = nn.ModuleList(TemporalCrossAttention(dim, grid) for _ in layers)

    def forward(self, features: list[BlockFeatures]) -> Tensor:
        """Query token after the last layer: (B, D)."""
        x = self.cls_token.repeat(len(features[0].out), 1, 1)  # (B, 1, D)
        for i, layer in enumerate(self.decoder_layers):
            tokens = self._aware_of_time(i, features[i])
            x = layer(x, tokens.flatten(1, 2))  # tokens as (B, T*N, D)
        return x.squeeze(1)

    def _aware_of_time(self, i: int, block: BlockFeatures) -> Tensor:
        tokens = block.out  # (B, T, N, D)
        B, T, N, D = tokens.shape
        if self.temporal_conv is not None:
            series = block.out.permute(0, 2, 3, 1).reshape(B * N, D, T)
            series = self.temporal_conv[i](series)
            tokens = tokens + series.reshape(B, N, D, T).permute(0, 3, 1, 2)  # (B, T, N, D)
        if self.temporal_pos_embed is not None:
            tokens = tokens + self.temporal_pos_embed[i][:, None]
        if self.cross_attention is not None:
            tokens = tokens + self.cross_attention[i](block.q, block.k)
        return tokens


class Evl(nn.Module):
    """Clips (B, 3, T, H, W) to logits (B, num_classes); the backbone is frozen."""

    def __init__(self, config: EvlConfig, options: Options) -> None:
        super().__init__()
        if options.height_px % config.patch_px or options.width_px % config.patch_px:
            raise UnsupportedInputError(
                f"height and width must be multiples of {config.patch_px} px, "
                f"got: {options.height_px} x {options.width_px}"
            )
        grid = patch_grid(options, config.patch_px)
        attention = options.attention
        self.options = options
        self.backbone = Backbone(config, grid[0] * grid[1], attention=attention)
        self.backbone.requires_grad_(requires_grad=False)
        self.decoder = Decoder(config, grid, options.num_frames, attention=attention)
        self.proj = nn.Sequential(
            nn.LayerNorm(config.dim),
            nn.Dropout(config.head_dropout),
            nn.Linear(config.dim, options.one_head()),
        )

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes)."""
        require_size(clips, self.options, any_num_frames=self.decoder.temporal_pos_embed is None)
        B, _, T = clips.shape[:3]
        frames = clips.transpose(1, 2).flatten(0, 1)  # (B*T, 3, H, W)
        features = [
            BlockFeatures(*(x.reshape(B, T, *x.shape[1:]) for x in block))  # each (B, T, ...)
            for block in self.backbone(frames)
        ]
        return self.proj(self.decoder(features))


@register_model(family=FAMILY, clip=(8, 224, 224))
def evl_base_16(options: Options) -> Evl:
    """EVL on CLIP ViT-B/16, 4 decoder layers of width 768; released for 8, 16 and 32 frames."""
    return Evl(EvlConfig(), options)


@register_model(family=FAMILY, clip=(8, 224, 224))
def evl_large_14(options: Options) -> Evl:
    """EVL on CLIP ViT-L/14, 4 decoder layers of width 1024; released for 8, 16 and 32 frames."""
    return Evl(_LARGE, options)


@register_model(family=FAMILY, clip=(32, 336, 336))
def evl_large_14_336(options: Options) -> Evl:
    """EVL on CLIP ViT-L/14 at 336 px; printed in the paper, never released."""
    return Evl(_LARGE, options)
