"""LCR (LSTM-CrossRWKV, "Video RWKV"): an LSTM over frames whose gates are a cross RWKV block.

Paper: arXiv:2411.05636. Neither code nor weights are public, so this is a reconstruction: P marks
what the paper or a summary of it states, I what is inferred.

- Patches of 1 x 16 x 16 pixels by a 3-D convolution (P); 192 channels, 3 heads of 64, 10 units,
  hidden width 3.5 D (I). Of 900 sizes tried, only this one has the 5.14 M parameters printed for
  Jester (P).
- A class token (P), last (I); rotary positions (P), by row in the first half of a head's channels
  and by column in the second, base 10000, angle 0 for the class token (I).
- Edges by Canny with Otsu's threshold, embedded by a convolution that begins as zero (P); grey as
  in OpenCV, high threshold Otsu's and low half of it, 3 x 3 Sobel, L1 magnitude, no blur, the map
  repeated to three channels, a learned edge token for the class, or nothing would reach it (I).
- Receptance and gate from the frame and the previous hidden state, key and value from the edges
  (P), the two combined by a learned share (I); quarters of each head's channels come from the four
  neighbours, as in Vision-RWKV for RWKV-6 (I).
- RWKV-5's matrix-valued state, run both ways and normalised by head, gated by SiLU (P); the token
  itself counted once (I). Squared-ReLU channel mix (I) behind a sigmoid gate (P); residuals (I).
- Cell: c = e (tanh(A) + c) + c, h = tanh(c) sigmoid(A), the edge embedding e being the gate (P).
  `edge_gate="sigmoid"` bounds e, with which c cannot grow as (1 + e) ** T (I).
- Units stacked, each reading the hidden states of the one below (I); the head normalises and
  classifies hidden and cell state of the class token after the last frame (P).
- Tube masking while training (P), half of the places of a clip (I).

Two consequences of the published facts. Keys and values being edges, and only the class token being
classified, colours reach no logit: the patch embedding gets no gradient, nor do the shares of the
shift but those of keys and values. And as the edge embedding begins as zero, so does its gradient,
until the first step has moved the bias of its norm.

Clips are normalised; the mean and deviation are undone before edges are looked for. Hysteresis
follows weak edges for a fixed number of steps, so that no loop depends on the data.

Shapes: B clips, T frames, H x W patches, P = H W of them, N tokens, D channels, F = B T frames.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model
from model_zoo.kernels.bi_wkv_matrix import bi_wkv_matrix
from model_zoo.kernels.edge_cell import edge_cell
from model_zoo.layers.canny import edge_maps
from model_zoo.layers.checks import patch_grid
from model_zoo.layers.rwkv import ChannelMix, depth_ratio, mix, own_share, q_shift

FAMILY = Family(
    title="LCR (Video RWKV)",
    paper="arXiv:2411.05636",
    repository="none public; reconstructed from the paper",
    licence="none: no official code",
    has_attention=False,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class LCRConfig:
    """Numbers of a variant; defaults are those for Jester.

    Attributes:
        hidden_rate: Hidden width of the channel mix, in D.
        mask_ratio: Of the places, dropped while training.
        edge_gate: What multiplies the cell's update: the edge embedding or its sigmoid.
        hysteresis_steps: Pixels that a weak edge is followed from a strong one.
        mean: Of red, green and blue in 0..1, that clips were normalised with; `std` too.
    """

    dim: int = 192
    head_dim: int = 64
    depth: int = 10
    hidden_rate: float = 3.5
    patch_px: int = 16
    mask_ratio: float = 0.5
    edge_gate: Literal["linear", "sigmoid"] = "linear"
    hysteresis_steps: int = 32
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the tokens of a batch stand on the grid; the class token, which stands last, nowhere.

    Attributes:
        kept: (B, N - 1), places of the patch tokens among all P; None if all are there.
        source: Which token each channel comes from by the shift: (B or 1, N, D).
        is_there: Whether there is one; else the shift brings zero.
        cos: Of the rotary angles: (B or 1, N, 1, channels of a head).
        sin: The same, negative for the first channel of each pair.
    """

    kept: Tensor | None
    source: Tensor
    is_there: Tensor
    cos: Tensor
    sin: Tensor

    @classmethod
    def of(
        cls, grid: tuple[int, int], config: LCRConfig, like: Tensor, kept: Tensor | None = None
    ) -> "Places":
        """All places of `grid`, or only those `kept`; angles in the type of `like`."""
        place = torch.arange(grid[0] * grid[1], device=like.device)
        present = place[None] if kept is None else kept  # (B or 1, N - 1)
        num_present = present.shape[1]
        rank = torch.arange(1, num_present + 2, device=like.device).expand(present.shape[0], -1)
        of_place = torch.zeros_like(place).expand(present.shape[0], -1)
        of_place = of_place.scatter(1, present, rank[:, :-1])  # (B or 1, P)

        num_heads = config.dim // config.head_dim
        per_channel = of_place.unsqueeze(2).expand(-1, -1, config.dim)
        shifted = q_shift(per_channel, grid, num_groups=num_heads)  # (B or 1, P, D)
        index = present.unsqueeze(2).expand(-1, -1, config.dim)
        of_cls = rank[:, -1:, None].expand(-1, -1, config.dim)
        counted = torch.cat((shifted.gather(1, index), of_cls), dim=1)  # from 1, 0 is none

        angles = F.pad(_angles(present, grid[1], config.head_dim), (0, 0, 0, 1)).unsqueeze(2)
        sign = torch.arange(config.head_dim, device=like.device) % 2 * 2 - 1
        return cls(
            kept,
            (counted - 1).clamp(min=0),
            (counted > 0).to(like.dtype),
            angles.cos().to(like.dtype),
            (angles.sin() * sign).to(like.dtype),
        )

    def repeated(self, num_frames: int) -> "Places":
        """The same for B T frames in place of B clips."""
        if self.kept is None:
            return self
        return Places(
            *(
                x.repeat_interleave(num_frames, dim=0)
                for x in (self.kept, self.source, self.is_there, self.cos, self.sin)
            )
        )

    def take(self, tokens: Tensor) -> Tensor:
        """What is kept of all tokens, class token included: (B, T, P + 1, D) -> (B, T, N, D)."""
        if self.kept is None:
            return tokens
        index = F.pad(self.kept, (0, 1), value=tokens.shape[2] - 1)[:, None, :, None]
        return tokens.gather(2, index.expand(-1, tokens.shape[1], -1, tokens.shape[3]))

    def shift(self, tokens: Tensor) -> Tensor:
        """Bring the neighbours' channels, zero where one is missing: (B, N, D) -> (B, N, D)."""
        return tokens.gather(1, self.source.expand(tokens.shape[0], -1, -1)) * self.is_there

    def rotate(self, x: Tensor) -> Tensor:
        """Turn neighbouring pairs of channels by the token's angles: (B, N, heads, head_dim)."""
        return rotated(x, self.cos, self.sin)


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn neighbouring pairs of channels; see `Places`."""
    swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
    return torch.addcmul(x * cos, swapped, sin)


def _angles(places: Tensor, num_columns: int, head_dim: int) -> Tensor:
    """Rotary angles, by row and then by column, each twice: (B, N) -> (B, N, head_dim)."""
    num_angles = head_dim // 4
    channel = torch.arange(num_angles, device=places.device, dtype=torch.float64)
    frequency = 10000.0 ** (-channel / num_angles)
    rows = torch.div(places, num_columns, rounding_mode="floor")
    row_column = torch.stack((rows, places % num_columns), dim=2)  # (B, N, 2)
    angles = (row_column.unsqueeze(3) * frequency).flatten(2)  # (B, N, head_dim / 2)
    return angles.repeat_interleave(2, dim=2)


def random_tubes(batch: int, num_places: int, mask_ratio: float, device: torch.device) -> Tensor:
    """Places of each clip that are kept in all of its frames, in order: (B, N - 1)."""
    num_kept = max(round(num_places * (1 - mask_ratio)), 1)
    order = torch.rand(batch, num_places, device=device).argsort(dim=1)
    return order[:, :num_kept].sort(dim=1).values


class CrossMix(nn.Module):
    """Mix tokens by a bidirectional RWKV that asks with frame and memory, and reads the edges."""

    def __init__(self, config: LCRConfig, layer: int) -> None:
        super().__init__()
        dim, depth = config.dim, config.depth
        self.num_heads = dim // config.head_dim
        per_head = (self.num_heads, config.head_dim)
        ratio = depth_ratio(layer, depth)
        place = torch.arange(dim) / max(dim - 1, 1)
        self.time_mix_r = nn.Parameter(torch.full((1, 1, dim), 0.5))
        self.time_mix_g = nn.Parameter(torch.full((1, 1, dim), 0.5))
        self.spatial_mix_r = nn.Parameter(own_share(dim, layer, depth, power=0.5))
        self.spatial_mix_g = nn.Parameter(own_share(dim, layer, depth, power=0.5))
        self.spatial_mix_k = nn.Parameter(own_share(dim, layer, depth))
        self.spatial_mix_v = nn.Parameter(own_share(dim, layer, depth) + 0.3 * ratio)
        decay = 5 * place.pow(0.7 + 1.3 * ratio) - 6
        self.time_decay = nn.Parameter(decay.reshape(per_head))
        zigzag = 0.1 * ((torch.arange(dim) + 1) % 3 - 1)
        self.time_first = nn.Parameter((ratio * (1 - place) + zigzag).reshape(per_head))
        self.receptance = nn.Linear(dim, dim, bias=False)
        self.gate = nn.Linear(dim, dim, bias=False)
        self.key = nn.Linear(dim, dim, bias=False)
        self.value = nn.Linear(dim, dim, bias=False)
        self.output = nn.Linear(dim, dim, bias=False)
        self.ln_x = nn.GroupNorm(self.num_heads, dim)

    def keys_values(self, edges: Tensor, places: Places) -> tuple[Tensor, Tensor]:
        """Of the edges of any frames: (B, N, D) -> two of (B, N, heads, head_dim)."""
        neighbours = places.shift(edges)
        k = self.key(mix(edges, neighbours, self.spatial_mix_k))
        v = self.value(mix(edges, neighbours, self.spatial_mix_v))
        return places.rotate(self._heads(k)), self._heads(v)

    def readers(self, tokens: Tensor, shifted: Tensor) -> Tensor:
        """The frames' part of what receptance and gate are projected from: (2, B, T, N, D).

        Args:
            tokens: (B, T, N, D), and what the shift brings of them.
        """
        own, of_frame = self._shares(tokens)
        return torch.lerp(shifted.unsqueeze(0), tokens.unsqueeze(0), own) * of_frame

    def memory_shares(self, places: Places, like: Tensor) -> tuple[Tensor, Tensor]:
        """Of the memory's own token (2, 1, 1, D) and of its neighbours (2, B or 1, N, D)."""
        own, of_frame = (share.squeeze(1) for share in self._shares(like))
        own, neighbours = own * (1 - of_frame), (1 - own) * (1 - of_frame)
        return own, neighbours * places.is_there

    def _shares(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Of a token against its neighbours and of the frame against the memory: (2, 1, 1, 1, D).

        The shift leaves channels in their place, so that the two lerps may change places.
        """
        own = torch.stack((self.spatial_mix_r, self.spatial_mix_g))
        of_frame = torch.stack((self.time_mix_r, self.time_mix_g))
        return own.unsqueeze(1).to(like.dtype), of_frame.unsqueeze(1).to(like.dtype)

    def forward(self, mixed: Tensor, k: Tensor, v: Tensor, shared: "Shared") -> Tensor:
        """Read the edges of one frame: mixed tokens (2, B, N, D) -> (B, N, D)."""
        _, B, N, _ = mixed.shape
        r, g = (mixed.flatten(1, 2) @ shared.readers).unflatten(1, (B, N)).unbind(0)
        r = rotated(self._heads(r), shared.cos, shared.sin)
        read = bi_wkv_matrix(r, k, v, shared.rate, self.time_first)
        normed = self.ln_x(read.flatten(2).flatten(0, 1)).view_as(g)
        return self.output(F.silu(g) * normed)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1))  # (B, N, heads, head_dim)


class Shared(NamedTuple):
    """What all frames of a unit share: made once, as it would be launched for each of them."""

    source: Tensor  # (B, N, D), see `Places`
    cos: Tensor
    sin: Tensor
    own: Tensor  # (2, 1, 1, D), for receptance and gate
    neighbours: Tensor  # (2, B or 1, N, D)
    readers: Tensor  # (2, D, D), the two projections
    rate: Tensor  # (heads, head_dim)
    own_of_channels: Tensor  # (2, 1, 1, D), for key and receptance of the channel mix
    neighbours_of_channels: Tensor  # (2, B or 1, N, D)


class Frame(NamedTuple):
    """What one frame gives to a unit, none of which waits for the memory."""

    token: Tensor  # (B, N, D)
    readers: Tensor  # (2, B, N, D)
    k: Tensor  # (B, N, heads, head_dim)
    v: Tensor
    gate: Tensor  # (B, N, D)


class Unit(nn.Module):
    """A recurrent cell over frames: cross mix and channel mix make its gates, edges update it."""

    def __init__(self, config: LCRConfig, layer: int) -> None:
        super().__init__()
        dim, depth = config.dim, config.depth
        self.edge_gate = config.edge_gate
        self.ln1 = nn.LayerNorm(dim)
        self.ln_h = nn.LayerNorm(dim)
        self.ln_e = nn.LayerNorm(dim)
        self.ln2 = nn.LayerNorm(dim)
        self.att = CrossMix(config, layer)
        hidden_dim = int(config.hidden_rate * dim)
        self.ffn = ChannelMix(dim, hidden_dim, own_share=own_share(dim, layer, depth))

    def forward(
        self, frame: Frame, hidden: Tensor, cell: Tensor, shared: Shared
    ) -> tuple[Tensor, Tensor]:
        """One frame's hidden and cell state from those of the one before: each (B, N, D)."""
        memory = self.ln_h(hidden)
        mixed = torch.addcmul(frame.readers, memory, shared.own)
        mixed = torch.addcmul(mixed, memory.gather(1, shared.source), shared.neighbours)
        attended = frame.token + self.att(mixed, frame.k, frame.v, shared)
        normed = self.ln2(attended)
        mixed = torch.addcmul(
            normed * shared.own_of_channels,
            normed.gather(1, shared.source),
            shared.neighbours_of_channels,
        )
        receptance, value = self.ffn.of_mixed(*mixed.unbind(0))
        return edge_cell(attended, receptance, value, frame.gate, cell)

    def over_frames(self, x: Tensor, edges: Tensor, places: Places) -> tuple[Tensor, Tensor]:
        """Run over the frames: hidden states of all and the last cell state.

        Args:
            x: (B, T, N, D), and edges too.
            places: Of the clips' tokens.

        Returns:
            (B, T, N, D) and (B, N, D).
        """
        shared = self._shared(x, places)
        hidden = cell = x.new_zeros(x[:, 0].shape)
        of_frames = []
        for frame in self._frames(x, edges, places.repeated(x.shape[1])):
            hidden, cell = self(frame, hidden, cell, shared)
            of_frames.append(hidden)
        return torch.stack(of_frames, dim=1), cell

    def _frames(self, x: Tensor, edges: Tensor, places: Places) -> Iterator[Frame]:
        """What does not wait for the memory, made for all frames at once."""
        per_frame = x.shape[:2]
        normed = self.ln1(x)
        shifted = places.shift(normed.flatten(0, 1)).unflatten(0, per_frame)
        readers = self.att.readers(normed, shifted)
        k, v = self.att.keys_values(self.ln_e(edges).flatten(0, 1), places)
        k, v = k.unflatten(0, per_frame), v.unflatten(0, per_frame)
        gates = torch.sigmoid(edges) if self.edge_gate == "sigmoid" else edges
        by_frame = (x.unbind(1), readers.unbind(2), k.unbind(1), v.unbind(1), gates.unbind(1))
        return map(Frame, *by_frame)

    def _shared(self, x: Tensor, places: Places) -> Shared:
        own, neighbours = self.att.memory_shares(places, x)
        weights = (self.att.receptance.weight, self.att.gate.weight)
        shares = torch.stack((self.ffn.spatial_mix_k, self.ffn.spatial_mix_r)).to(x.dtype)
        return Shared(
            source=places.source.expand(x.shape[0], -1, -1),
            cos=places.cos,
            sin=places.sin,
            own=own,
            neighbours=neighbours,
            readers=torch.stack(weights).transpose(1, 2),
            rate=-self.att.time_decay.exp(),
            own_of_channels=shares,
            neighbours_of_channels=(1 - shares) * places.is_there,
        )


class LCR(nn.Module):
    """Clips (B, 3, T, H, W) of any size to logits (B, num_classes)."""

    def __init__(self, config: LCRConfig, options: Options) -> None:
        super().__init__()
        patch_grid(options, config.patch_px)
        self.config = config
        box = (1, config.patch_px, config.patch_px)
        self.patch_embed = nn.Conv3d(3, config.dim, box, stride=box)
        self.edge_embed = nn.Conv3d(3, config.dim, box, stride=box)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 1, config.dim))
        self.edge_cls_token = nn.Parameter(torch.zeros(1, 1, 1, config.dim))
        self.layers = nn.ModuleList(Unit(config, layer) for layer in range(config.depth))
        self.norm = nn.LayerNorm(2 * config.dim)
        self.head = nn.Linear(2 * config.dim, options.one_head())
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(self.head.bias)
        nn.init.zeros_(self.edge_embed.weight)
        assert self.edge_embed.bias is not None
        nn.init.zeros_(self.edge_embed.bias)
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        # Each unit scales by about its number of frames times this: much less and ten units fade
        # out, much more and the cell state, which grows as (1 + e) ** T, leaves float16.
        nn.init.trunc_normal_(self.edge_cls_token, std=0.1)

    def forward(self, clips: Tensor) -> Tensor:
        """Classify: (B, 3, T, H, W) -> (B, num_classes).

        Raises:
            UnsupportedInputError: Clips of another shape, or smaller than one patch.
        """
        patch_px = self.config.patch_px
        if clips.ndim != 5 or min(clips.shape[3:]) < patch_px:
            raise UnsupportedInputError(
                f"clips must be (B, 3, T, H, W) with H, W >= {patch_px}, not of shape: "
                f"{tuple(clips.shape)}"
            )
        edges = self._edges(clips).unsqueeze(1).expand(-1, 3, -1, -1, -1)  # (B, 3, T, H, W)
        x, grid = _tokens(self.patch_embed(clips), self.cls_token)
        e, _ = _tokens(self.edge_embed(edges), self.edge_cls_token)
        kept = None
        if self.training and self.config.mask_ratio > 0:
            kept = random_tubes(len(x), grid[0] * grid[1], self.config.mask_ratio, x.device)
        places = Places.of(grid, self.config, x, kept)
        x, e = places.take(x), places.take(e)
        cell = x[:, -1]
        for layer in self.layers:
            assert isinstance(layer, Unit)
            x, cell = layer.over_frames(x, e, places)
        state = torch.cat((x[:, -1, -1], cell[:, -1]), dim=1)  # (B, 2 D)
        return self.head(self.norm(state))

    def _edges(self, clips: Tensor) -> Tensor:
        """Edge maps of the clips as they were before they were normalised: (B, T, H, W)."""
        wide = clips.detach() if clips.dtype == torch.float64 else clips.detach().float()
        # numbers of Python: a tensor made of them would wait for the device, which no graph takes
        scales = zip(wide.unbind(1), self.config.std, self.config.mean, strict=True)
        rgb = torch.stack([255 * (x * std + mean) for x, std, mean in scales], dim=2)
        maps = edge_maps(rgb.flatten(0, 1), hysteresis_steps=self.config.hysteresis_steps)
        return maps.unflatten(0, rgb.shape[:2]).to(clips.dtype)


def _tokens(patches: Tensor, cls_token: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Patches of each frame before its class token, and their grid: (B, D, T, H, W) -> ..."""
    B, _, T, H, W = patches.shape
    tokens = patches.permute(0, 2, 3, 4, 1).flatten(2, 3)  # (B, T, P, D)
    return torch.cat((tokens, cls_token.expand(B, T, -1, -1)), dim=2), (H, W)


@register_model(family=FAMILY, clip=(16, 240, 240), num_classes=27, label_space="jester")
def lcr_jester(options: Options) -> LCR:
    """LCR for Jester: 10 units of width 192, the size whose parameters are published."""
    return LCR(LCRConfig(), options)


@register_model(family=FAMILY, clip=(16, 224, 224))
def lcr_kinetics(options: Options) -> LCR:
    """LCR for Kinetics: 12 units of width 192 and hidden width 768, those of VRWKV-T."""
    return LCR(LCRConfig(depth=12, hidden_rate=4.0), options)


@register_model(
    family=FAMILY,
    clip=(8, 32, 32),
    num_classes={"verb": 12, "noun": 8},
    label_space="motion",
)
def lcr_nano(options: Options) -> LCR:
    """For the motion benchmark: 3 units of width 64, patches of 8 px, no places dropped."""
    return LCR(LCRConfig(dim=64, head_dim=32, depth=3, patch_px=8, mask_ratio=0.0), options)
