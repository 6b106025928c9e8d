"""ViViT: ViTs over space-time tubelets, with joint attention or a factorised encoder.

Paper arXiv:2103.15691: model 1 (joint) and model 2 (factorised encoder). Official implementation:
google-research/scenic@4a38d47, projects/vivit/model.py, in Flax. The factorised encoder reproduces
it; the joint model reproduces the port of transformers 4.46.3 (models/vivit/modeling_vivit.py)
with that port's parameter names, under which its checkpoint is released for PyTorch.

Differences:
- Parameter names of the factorised encoder are ours, since it has no official PyTorch release.
- The port rounds sqrt(2 / pi) in GELU's tanh approximation to 10 digits; here torch's fused GELU
  takes it in full. Logits differ by less than 1e-10.
- The classifier starts from small values instead of zeros, through which no gradient would flow.
- Models 3 and 4 of the paper, which have no released checkpoint, are left out.

Shapes: B clips, T x S tokens along time and over a frame, N tokens of any sequence,
D channels of a token.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._registry import Family, Options, register_model
from model_zoo.layers.attention import attend
from model_zoo.layers.checks import require_size
from model_zoo.layers.mlp import Mlp
from model_zoo.layers.patch_embed import TubeletEmbed, tubelet_grid

FAMILY = Family(
    title="ViViT",
    paper="arXiv:2103.15691",
    repository="google-research/scenic@4a38d47",
    licence="Apache-2.0",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ViViTConfig:
    """Size of a variant.

    Attributes:
        temporal_depth: Blocks of the factorised encoder's second transformer.
    """

    dim: int = 768
    depth: int = 12
    temporal_depth: int = 4
    num_heads: int = 12
    mlp_dim: int = 3072
    tubelet_frames: int = 2
    patch_px: int = 16


def _attend_heads(q: Tensor, k: Tensor, v: Tensor, num_heads: int, backend: str) -> Tensor:
    """Attend in each head: three (B, N, D) -> (B, N, D)."""
    q, k, v = (x.unflatten(-1, (num_heads, -1)).transpose(1, 2) for x in (q, k, v))
    y = attend(q, k, v, backend=backend)  # (B, heads, N, D / heads)
    return y.transpose(1, 2).flatten(2)  # (B, N, D)


def _with_class_token(cls_token: Tensor, x: Tensor) -> Tensor:
    """Prepend: (1, 1, D) and (B, N, D) -> (B, 1 + N, D)."""
    return torch.cat((cls_token.expand(len(x), -1, -1), x), dim=1)


def _initialise(model: nn.Module, classifier: nn.Linear) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv3d):
            centre = module.kernel_size[0] // 2
            module.weight.data[:, :, :centre] = 0.0
            module.weight.data[:, :, centre + 1 :] = 0.0
    nn.init.trunc_normal_(classifier.weight, std=0.02)


class Attention(nn.Module):
    """Self-attention with a projection each for queries, keys and values."""

    def __init__(self, dim: int, num_heads: int, *, attention: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention = attention
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Attend: (B, N, D) -> (B, N, D)."""
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        return self.out_proj(_attend_heads(q, k, v, self.num_heads, self.attention))


class Block(nn.Module):
    """Attention and perceptron, each after its norm and beside a residual."""

    def __init__(self, config: ViViTConfig, *, attention: str) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.dim, eps=1e-6)
        self.norm2 = nn.LayerNorm(config.dim, eps=1e-6)
        self.attn = Attention(config.dim, config.num_heads, attention=attention)
        self.mlp = Mlp(config.dim, config.mlp_dim, gelu="tanh")

    def forward(self, x: Tensor) -> Tensor:
        """Transform: (B, N, D) -> (B, N, D)."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Encoder(nn.Module):
    """A ViT of its own, with class token and positions, over sequences of one length."""

    def __init__(self, config: ViViTConfig, *, depth: int, num_tokens: int, attention: str) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + num_tokens, config.dim))
        self.blocks = nn.ModuleList(Block(config, attention=attention) for _ in range(depth))
        self.norm = nn.LayerNorm(config.dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Encode each sequence as its class token: (B, N, D) -> (B, D)."""
        x = _with_class_token(self.cls_token, x) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


class FactorizedViViT(nn.Module):
    """One transformer over the tokens of each moment, then one over the moments (model 2)."""

    def __init__(self, config: ViViTConfig, options: Options) -> None:
        super().__init__()
        self.patch_embed = TubeletEmbed(
            options,
            config.dim,
            tubelet_frames=config.tubelet_frames,
            patch_px=config.patch_px,
        )
        T, h, w = self.patch_embed.grid
        self.spatial = Encoder(
            config, depth=config.depth, num_tokens=h * w, attention=options.attention
        )
        self.temporal = Encoder(
            config, depth=config.temporal_depth, num_tokens=T, attention=options.attention
        )
        self.head = nn.Linear(config.dim, options.one_head())
        _initialise(self, self.head)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, num_frames, height, width) -> (B, num_classes)."""
        T, h, w = self.patch_embed.grid
        x = self.patch_embed(clips)  # (B, T*S, D)
        x = self.spatial(x.reshape(-1, h * w, x.shape[-1]))  # (B*T, S, D) -> (B*T, D)
        x = self.temporal(x.reshape(-1, T, x.shape[-1]))  # (B, T, D) -> (B, D)
        return self.head(x)


class JointAttention(nn.Module):
    """`Attention` under the port's parameter names."""

    def __init__(self, dim: int, num_heads: int, *, attention: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.backend = attention
        projections = {name: nn.Linear(dim, dim) for name in ("query", "key", "value")}
        self.attention = nn.ModuleDict(projections)
        self.output = nn.ModuleDict({"dense": nn.Linear(dim, dim)})

    def forward(self, x: Tensor) -> Tensor:
        """Attend: (B, N, D) -> (B, N, D)."""
        q, k, v = (project(x) for project in self.attention.values())
        return self.output["dense"](_attend_heads(q, k, v, self.num_heads, self.backend))


class JointBlock(nn.Module):
    """`Block` under the port's parameter names."""

    def __init__(self, config: ViViTConfig, *, attention: str) -> None:
        super().__init__()
        self.attention = JointAttention(config.dim, config.num_heads, attention=attention)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(config.dim, config.mlp_dim)})
        self.output = nn.ModuleDict({"dense": nn.Linear(config.mlp_dim, config.dim)})
        self.layernorm_before = nn.LayerNorm(config.dim, eps=1e-6)
        self.layernorm_after = nn.LayerNorm(config.dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Transform: (B, N, D) -> (B, N, D)."""
        x = x + self.attention(self.layernorm_before(x))
        hidden = self.intermediate["dense"](self.layernorm_after(x))  # (B, N, mlp_dim)
        return x + self.output["dense"](F.gelu(hidden, approximate="tanh"))


class JointEmbeddings(nn.Module):
    """Tubelets of the whole clip after a class token, each with a learned position."""

    def __init__(self, config: ViViTConfig, options: Options) -> None:
        super().__init__()
        self.options = options
        box = (config.tubelet_frames, config.patch_px, config.patch_px)
        T, h, w = tubelet_grid(options, config.tubelet_frames, config.patch_px)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.dim))
        self.position_embeddings = nn.Parameter(0.02 * torch.randn(1, 1 + T * h * w, config.dim))
        convolution = nn.Conv3d(3, config.dim, kernel_size=box, stride=box)
        self.patch_embeddings = nn.ModuleDict({"projection": convolution})

    def forward(self, clips: Tensor) -> Tensor:
        """Embed: (B, 3, num_frames, height, width) -> (B, 1 + T*S, D)."""
        require_size(clips, self.options)
        x = self.patch_embeddings["projection"](clips).flatten(2).transpose(1, 2)  # (B, T*S, D)
        return _with_class_token(self.cls_token, x) + self.position_embeddings


class JointEncoder(nn.Module):
    """All tokens of the clip attend to each other in every block."""

    def __init__(self, config: ViViTConfig, options: Options) -> None:
        super().__init__()
        blocks = (JointBlock(config, attention=options.attention) for _ in range(config.depth))
        self.embeddings = JointEmbeddings(config, options)
        self.encoder = nn.ModuleDict({"layer": nn.Sequential(*blocks)})
        self.layernorm = nn.LayerNorm(config.dim, eps=1e-6)

    def forward(self, clips: Tensor) -> Tensor:
        """Encode each clip as its class token: (B, 3, num_frames, height, width) -> (B, D)."""
        x = self.encoder["layer"](self.embeddings(clips))  # (B, 1 + T*S, D)
        return self.layernorm(x)[:, 0]


class JointViViT(nn.Module):
    """One transformer over all tokens of the clip (model 1)."""

    def __init__(self, config: ViViTConfig, options: Options) -> None:
        super().__init__()
        self.vivit = JointEncoder(config, options)
        self.classifier = nn.Linear(config.dim, options.one_head())
        _initialise(self, self.classifier)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, num_frames, height, width) -> (B, num_classes)."""
        return self.classifier(self.vivit(clips))


@register_model(family=FAMILY, clip=(32, 224, 224))
def vivit_base(options: Options) -> JointViViT:
    """ViViT-B/16x2 with joint space-time attention."""
    return JointViViT(ViViTConfig(), options)


@register_model(family=FAMILY, clip=(32, 224, 224))
def vivit_base_factorized(options: Options) -> FactorizedViViT:
    """ViViT-B/16x2 FE: 12 blocks over space, then 4 over time."""
    return FactorizedViViT(ViViTConfig(), options)


@register_model(family=FAMILY, clip=(32, 224, 224))
def vivit_large_factorized(options: Options) -> FactorizedViViT:
    """ViViT-L/16x2 FE: 24 blocks over space, then 24 over time."""
    config = ViViTConfig(dim=1024, depth=24, temporal_depth=24, num_heads=16, mlp_dim=4096)
    return FactorizedViViT(config, options)


@register_model(
    family=FAMILY,
    clip=(8, 32, 32),
    num_classes={"verb": 12, "noun": 8},
    label_space="motion",
)
def vivit_nano(options: Options) -> FactorizedViViT:
    """For the motion benchmark: 3 blocks over space, 2 over time, width 64, 8 px."""
    config = ViViTConfig(dim=64, depth=3, temporal_depth=2, num_heads=2, mlp_dim=256, patch_px=8)
    return FactorizedViViT(config, options)
