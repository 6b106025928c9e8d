"""CAST: a frozen CLIP tower for space and a frozen VideoMAE for time, which attend to each other.

Paper: arXiv:2311.18825. Official: KHU-VLL/CAST@51eb871, ``models/bidir_modeling_crossattn.py``.

Differences from the official code: the CLIP stream is batch first; its LayerNorm has the precision
of its input (torch accumulates halves in float32); the two-head model names its outputs.

Shapes: B batch, T frames, U = T // 2 time steps of both streams, S = 14*14 places of a frame,
D channels of an expert, C channels between the experts. The spatial stream is (B*U, 1 + S, D),
class token first, and the temporal one (B, U*S, D), time outermost; places go row by row.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.adapters import BottleneckAdapter
from model_zoo.layers.attention import attend
from model_zoo.layers.beit import BeitAttention
from model_zoo.layers.clip import (
    ClipAttention,
    ClipMlp,
    embedding,
    frame_tokens,
    patch_convolution,
)
from model_zoo.layers.drop_path import DropPath, drop_path_rates
from model_zoo.layers.mlp import Mlp
from model_zoo.layers.patch_embed import TubeletEmbed
from model_zoo.layers.pos_embed import sinusoid_table

FAMILY = Family(
    title="CAST",
    paper="arXiv:2311.18825",
    repository="KHU-VLL/CAST@51eb871",
    licence="CC-BY-NC-4.0",
)

_GRID: Final = (14, 14)  # the official code fixes the size of its tables over space
_NUM_PLACES: Final = _GRID[0] * _GRID[1]
_ADAPTER_SCALE: Final = 0.5  # of the adapters beside both perceptrons


@dataclass(frozen=True, kw_only=True, slots=True)
class CastConfig:
    """Numbers of a variant; defaults are ViT-B/16's for both experts.

    Attributes:
        cross_dim: Width C in which the experts attend to each other, with `num_heads` heads too.
        drop_path_rate: Of the last block's cross attention and perceptron adapters; rises linearly
            from 0.
    """

    patch_px: int = 16
    dim: int = 768
    depth: int = 12
    num_heads: int = 12
    mlp_ratio: int = 4
    cross_dim: int = 384
    drop_path_rate: float = 0.2


def _cross_attend(q: Tensor, kv: Tensor, num_heads: int, backend: str) -> Tensor:
    """Attend among projected tokens of G groups: (G, N, C) and (G, M, 2*C) -> (G, N, C)."""
    G, N, C = q.shape
    q = q.reshape(G, N, num_heads, C // num_heads).transpose(1, 2)  # (G, heads, N, C / heads)
    kv = kv.reshape(G, -1, 2, num_heads, C // num_heads)
    k, v = kv.permute(2, 0, 3, 1, 4).unbind(0)  # each (G, heads, M, C / heads)
    y = attend(q, k, v, backend=backend)
    return y.transpose(1, 2).reshape(G, N, C)


def _position_table(num_positions: int, dim: int, num_heads: int) -> nn.Parameter:
    return nn.Parameter((dim // num_heads) ** -0.5 * torch.randn(num_positions, dim))


class TemporalToSpatial(nn.Module):
    """At each place, the spatial stream looks along the time of the temporal stream."""

    def __init__(self, dim: int, num_heads: int, num_steps: int, *, attention: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention = attention
        self.clip_time_pos = _position_table(num_steps, dim, num_heads)
        self.vmae_time_pos = _position_table(num_steps, dim, num_heads)
        self.t2s_q = nn.Linear(dim, dim, bias=False)
        self.t2s_q_bias = nn.Parameter(torch.zeros(dim))
        self.t2s_kv = nn.Linear(dim, 2 * dim, bias=False)
        self.t2s_kv_bias = nn.Parameter(torch.zeros(2 * dim))
        self.t2s_proj = nn.Linear(dim, dim)

    def forward(self, s: Tensor, t: Tensor) -> Tensor:
        """Update for the spatial stream: (B*U, 1 + S, C), (B, U*S, C) -> (B*U, 1 + S, C).

        Class tokens come back as they are.
        """
        num_steps = len(self.clip_time_pos)
        class_tokens, places = s[:, :1], s[:, 1:]
        x = _time_last(places, num_steps) + self.clip_time_pos
        y = _time_last(t, num_steps) + self.vmae_time_pos
        q = F.linear(x, self.t2s_q.weight, self.t2s_q_bias)
        kv = F.linear(y, self.t2s_kv.weight, self.t2s_kv_bias)
        z = self.t2s_proj(_cross_attend(q, kv, self.num_heads, self.attention))  # (B*S, U, C)
        z = z.reshape(-1, _NUM_PLACES, *z.shape[1:]).transpose(1, 2)  # (B, U, S, C)
        return torch.cat((class_tokens, z.reshape(places.shape)), dim=1)


def _time_last(x: Tensor, num_steps: int) -> Tensor:
    """Series of each place: (B, U, S, C) in any contiguous shape -> (B*S, U, C)."""
    C = x.shape[-1]
    x = x.reshape(-1, num_steps, _NUM_PLACES, C).transpose(1, 2)  # (B, S, U, C)
    return x.reshape(-1, num_steps, C)  # (B*S, U, C)


class SpatialToTemporal(nn.Module):
    """At each time step, the temporal stream looks over the places of the spatial stream."""

    def __init__(self, dim: int, num_heads: int, *, attention: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention = attention
        self.clip_space_pos = _position_table(_NUM_PLACES, dim, num_heads)
        self.vmae_space_pos = _position_table(_NUM_PLACES, dim, num_heads)
        self.s2t_q = nn.Linear(dim, dim, bias=False)
        self.s2t_q_bias = nn.Parameter(torch.zeros(dim))
        self.s2t_kv = nn.Linear(dim, 2 * dim, bias=False)
        self.s2t_kv_bias = nn.Parameter(torch.zeros(2 * dim))
        self.t2s_proj = nn.Linear(dim, dim)  # named so in the official code too

    def forward(self, s: Tensor, t: Tensor) -> Tensor:
        """Update for the temporal stream: (B*U, 1 + S, C), (B, U*S, C) -> (B, U*S, C)."""
        places = s[:, 1:]
        x = t.reshape(places.shape) + self.vmae_space_pos  # (B*U, S, C)
        y = places + self.clip_space_pos
        q = F.linear(x, self.s2t_q.weight, self.s2t_q_bias)
        kv = F.linear(y, self.s2t_kv.weight, self.s2t_kv_bias)
        z = self.t2s_proj(_cross_attend(q, kv, self.num_heads, self.attention))
        return z.reshape(t.shape)  # (B, U*S, C)


class Block(nn.Module):
    """A block of each expert, adapted, with a bottleneck in which they attend to each other."""

    def __init__(
        self, config: CastConfig, num_steps: int, *, drop_path_rate: float, attention: str
    ) -> None:
        super().__init__()
        dim, heads, cross_dim = config.dim, config.num_heads, config.cross_dim
        self.clip_ln_1 = nn.LayerNorm(dim)
        self.clip_attn = ClipAttention(dim, heads, attention=attention)
        self.S_Adapter = BottleneckAdapter(dim, has_skip=True)
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = BeitAttention(dim, heads, attention=attention)
        self.T_Adapter = BottleneckAdapter(dim, has_skip=True)
        self.cross_s_down = nn.Linear(dim, cross_dim)
        self.cross_t_down = nn.Linear(dim, cross_dim)
        self.ln_s_cross = nn.LayerNorm(cross_dim, eps=1e-6)
        self.ln_t_cross = nn.LayerNorm(cross_dim, eps=1e-6)
        self.t2s_cross = TemporalToSpatial(cross_dim, heads, num_steps, attention=attention)
        self.s2t_cross = SpatialToTemporal(cross_dim, heads, attention=attention)
        self.cross_s_up = _zero_linear(cross_dim, dim)
        self.cross_t_up = _zero_linear(cross_dim, dim)
        self.clip_ln_2 = nn.LayerNorm(dim)
        self.clip_mlp = ClipMlp(dim)
        self.S_MLP_Adapter = BottleneckAdapter(dim, has_skip=False)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = Mlp(dim, config.mlp_ratio * dim)
        self.T_MLP_Adapter = BottleneckAdapter(dim, has_skip=False)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """Transform both streams."""
        s = s + self.S_Adapter(self.clip_attn(self.clip_ln_1(s)))
        t = t + self.T_Adapter(self.attn(self.norm1(t)))
        s, t = self._exchange(s, t)
        s_normed, t_normed = self.clip_ln_2(s), self.norm2(t)
        s_adapted = _ADAPTER_SCALE * self.S_MLP_Adapter(s_normed)
        t_adapted = _ADAPTER_SCALE * self.T_MLP_Adapter(t_normed)
        s = s + self.clip_mlp(s_normed) + self._drop_places(s_adapted)
        t = t + self.mlp(t_normed) + self.drop_path(t_adapted)
        return s, t

    def _exchange(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        s_narrow = self.ln_s_cross(self.cross_s_down(s))  # (B*U, 1 + S, C)
        t_narrow = self.ln_t_cross(self.cross_t_down(t))  # (B, U*S, C)
        s_update = self.cross_s_up(F.gelu(self.t2s_cross(s_narrow, t_narrow)))
        t_update = self.cross_t_up(F.gelu(self.s2t_cross(s_narrow, t_narrow)))
        return s + self._drop_places(s_update), t + self.drop_path(t_update)

    def _drop_places(self, x: Tensor) -> Tensor:
        # The official spatial stream is (1 + S, B*U, D): stochastic depth drops places of it.
        return self.drop_path(x.transpose(0, 1)).transpose(0, 1)


def _zero_linear(in_dim: int, out_dim: int) -> nn.Linear:
    layer = nn.Linear(in_dim, out_dim)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Experts(nn.Module):
    """Both experts, without a head."""

    pos_embed: Tensor

    def __init__(self, config: CastConfig, options: Options) -> None:
        super().__init__()
        dim = config.dim
        self.patch_embed = TubeletEmbed(options, dim, tubelet_frames=2, patch_px=config.patch_px)
        num_steps, *grid = self.patch_embed.grid
        if tuple(grid) != _GRID:
            low, high = (config.patch_px * side for side in (_GRID[0], _GRID[0] + 1))
            raise UnsupportedInputError(
                f"height and width must be {low} to {high - 1} px ({_GRID[0]} x {_GRID[1]} "
                f"patches), got: {options.height_px} x {options.width_px}"
            )
        table = sinusoid_table(self.patch_embed.num_tokens, dim)
        self.register_buffer("pos_embed", table, persistent=False)
        self.clip_conv1 = patch_convolution(dim, config.patch_px)
        self.clip_class_embedding = embedding(dim)
        self.clip_positional_embedding = embedding(1 + _NUM_PLACES, dim)
        self.clip_ln_pre = nn.LayerNorm(dim)
        self.blocks = nn.ModuleList(
            Block(config, num_steps, drop_path_rate=rate, attention=options.attention)
            for rate in drop_path_rates(config.drop_path_rate, config.depth)
        )
        self.clip_ln_post = nn.LayerNorm(dim)
        self.vmae_fc_norm = nn.LayerNorm(dim, eps=1e-6)

    def features(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """What each expert says of clips (B, 3, T, H, W): space (B, D) and time (B, D).

        The spatial expert sees every second frame, the second one first.
        """
        tubelets = self.patch_embed(clips)
        t = tubelets + self.pos_embed.to(tubelets.dtype)
        frames = clips[:, :, 1::2].transpose(1, 2)  # (B, U, 3, H, W)
        s = self.clip_ln_pre(
            frame_tokens(
                frames.flatten(0, 1),
                self.clip_conv1,
                self.clip_class_embedding,
                self.clip_positional_embedding,
            )
        )
        for block in self.blocks:
            s, t = block(s, t)
        s = s[:, 0].reshape(*frames.shape[:2], -1).mean(dim=1)  # (B, D)
        return self.clip_ln_post(s), self.vmae_fc_norm(t.mean(dim=1))

    def freeze_experts(self) -> None:
        """Leave trainable what CAST adds to the experts, and their last norms."""
        trained = ("cross", "Adapter", "ln_post", "vmae_fc_norm", "head")
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(any(word in name for word in trained))


class Cast(Experts):
    """Clips (B, 3, T, 224, 224) to logits (B, num_classes) of both experts together."""

    def __init__(self, config: CastConfig, options: Options) -> None:
        super().__init__(config, options)
        self.noun_last_Adapter = BottleneckAdapter(config.dim, has_skip=False)
        self.verb_last_Adapter = BottleneckAdapter(config.dim, has_skip=False)
        self.head = nn.Linear(config.dim, options.one_head())
        self.freeze_experts()

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes)."""
        s, t = self.features(clips)
        return self.head(self.noun_last_Adapter(s) + self.verb_last_Adapter(t))


class CastVerbNoun(Experts):
    """Clips (B, 3, T, 224, 224) to logits of the verb, seen in time, and of the noun, in space."""

    def __init__(self, config: CastConfig, options: Options) -> None:
        super().__init__(config, options)
        num_classes = options.num_classes
        if not isinstance(num_classes, Mapping) or set(num_classes) != {"verb", "noun"}:
            raise UnsupportedInputError(
                f"num_classes must name a verb and a noun head, got: {num_classes}",
                hint='e.g. num_classes={"verb": 97, "noun": 300}',
            )
        self.head_verb = nn.Linear(config.dim, num_classes["verb"])
        self.head_noun = nn.Linear(config.dim, num_classes["noun"])
        self.freeze_experts()

    def forward(self, clips: Tensor) -> dict[str, Tensor]:
        """Classify: (B, 3, T, H, W) -> (B, num_classes) under ``verb`` and ``noun``."""
        s, t = self.features(clips)
        return {"verb": self.head_verb(t), "noun": self.head_noun(s)}


@register_model(family=FAMILY, clip=(16, 224, 224))
def cast_base_16(options: Options) -> Cast:
    """CAST of CLIP ViT-B/16 and VideoMAE ViT-B/16."""
    return Cast(CastConfig(), options)


@register_model(family=FAMILY, clip=(16, 224, 224), num_classes=174, label_space="ssv2")
def cast_base_16_ssv2(options: Options) -> Cast:
    """CAST for Something-Something V2; drops more branches while training."""
    return Cast(CastConfig(drop_path_rate=0.3), options)


@register_model(
    family=FAMILY,
    clip=(16, 224, 224),
    num_classes={"verb": 97, "noun": 300},
    label_space="epic_kitchens100",
)
def cast_base_16_ek100(options: Options) -> CastVerbNoun:
    """CAST for EPIC-KITCHENS-100: a verb head on time and a noun head on space."""
    return CastVerbNoun(CastConfig(), options)
