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

from dataclasses import dataclass
from typing import Final, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model_zoo._errors import UnsupportedInputError
from model_zoo._registry import Family, Options, register_model
from model_zoo.kernels.bi_wkv_matrix import bi_wkv_matrix
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


# Of OpenCV, modules/imgproc/src/canny.cpp: tan(22.5 degrees) in units of 2 ** -15
TAN_SHIFT: Final = 15
TAN_22: Final = 13573


def edge_maps(rgb: Tensor, *, hysteresis_steps: int) -> Tensor:
    """Mark edges as OpenCV's Canny with Otsu's threshold: (F, 3, H, W) in 0..255 -> bool (F, H, W).

    All arithmetic is of integers or exact, hence the same on every device. Only `hysteresis_steps`
    differs from OpenCV, which follows weak edges to their end.
    """
    grey = grey_levels(rgb)
    high = otsu_threshold(grey)[:, None, None]
    across, down = sobel(grey)
    magnitude = across.abs() + down.abs()
    weak = _is_peak(across, down, magnitude) & (magnitude > (high >> 1))
    edges = weak & (magnitude > high)
    for _ in range(hysteresis_steps):
        edges = _dilated(edges) & weak
    return edges


def grey_levels(rgb: Tensor) -> Tensor:
    """Luma rounded to 0..255: (F, 3, H, W) -> int32 (F, H, W)."""
    red, green, blue = rgb.clamp(0, 255).round().to(torch.int32).unbind(1)
    thousandths = 299 * red + 587 * green + 114 * blue + 500
    return torch.div(thousandths, 1000, rounding_mode="floor")


def otsu_threshold(grey: Tensor) -> Tensor:
    """The lowest level that parts each frame best (Otsu, 1979): (F, H, W) -> int32 (F,)."""
    levels = grey.flatten(1).long()  # (F, H * W)
    histogram = torch.zeros(grey.shape[0], 256, dtype=torch.float64, device=grey.device)
    histogram.scatter_add_(1, levels, histogram.new_ones(()).expand(levels.shape))
    level = torch.arange(256, device=grey.device)
    num_below = histogram.cumsum(1)
    sum_below = (histogram * level).cumsum(1)
    num_pixels = levels.shape[1]
    difference = num_pixels * sum_below - num_below * sum_below[:, -1:]
    spread = difference.square() / (num_below * (num_pixels - num_below)).clamp(min=1)
    best = spread.amax(dim=1, keepdim=True)
    return torch.where(spread == best, level, 255).amin(dim=1).to(torch.int32)


def sobel(grey: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives along width and height, borders repeated: each int32 (F, H, W)."""
    x = torch.cat((grey[:, :1], grey, grey[:, -1:]), dim=1)
    x = torch.cat((x[..., :1], x, x[..., -1:]), dim=2)  # (F, H + 2, W + 2)
    along_height = x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]
    along_width = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    return along_height[..., 2:] - along_height[..., :-2], along_width[:, 2:] - along_width[:, :-2]


def _is_peak(across: Tensor, down: Tensor, magnitude: Tensor) -> Tensor:
    """Whether no neighbour along the gradient, in steps of 45 degrees, is stronger.

    Of equal neighbours the first counts, as in OpenCV; there is nothing outside of a frame.
    """
    height, width = magnitude.shape[1:]
    padded = F.pad(magnitude, (1, 1, 1, 1))

    def neighbour(row: int, column: int) -> Tensor:
        return padded[:, 1 + row : 1 + row + height, 1 + column : 1 + column + width]

    x, y = across.abs(), down.abs() << TAN_SHIFT
    is_across = y < x * TAN_22
    is_down = y > x * TAN_22 + (x << (TAN_SHIFT + 1))
    falls = (across < 0) == (down < 0)
    before = torch.where(falls, neighbour(-1, -1), neighbour(-1, 1))
    after = torch.where(falls, neighbour(1, 1), neighbour(1, -1))
    peak_across = (magnitude > neighbour(0, -1)) & (magnitude >= neighbour(0, 1))
    peak_down = (magnitude > neighbour(-1, 0)) & (magnitude >= neighbour(1, 0))
    peak_diagonal = (magnitude > before) & (magnitude > after)
    return torch.where(is_across, peak_across, torch.where(is_down, peak_down, peak_diagonal))


def _dilated(mask: Tensor) -> Tensor:
    """Every pixel with one of `mask` among its eight neighbours or itself."""
    wide = F.pad(mask, (1, 1))
    rows = wide[..., :-2] | wide[..., 1:-1] | wide[..., 2:]
    tall = F.pad(rows, (0, 0, 1, 1))
    return tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:]


@dataclass(frozen=True, slots=True)
class Places:
    """Where the tokens of a batch stand on the grid; the class token, which stands last, nowhere.

    Attributes:
        kept: (B, N - 1), places of the patch tokens among all P; None if all are there.
        neighbours: Which token each channel comes from by the shift, counted from 1, 0 being none:
            (B or 1, N, D).
        cos: Of the rotary angles: (B or 1, N, 1, channels of a head).
        sin: The same, negative for the first channel of each pair.
    """

    kept: Tensor | None
    neighbours: Tensor
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
        neighbours = torch.cat((shifted.gather(1, index), of_cls), dim=1)

        angles = F.pad(_angles(present, grid[1], config.head_dim), (0, 0, 0, 1)).unsqueeze(2)
        sign = torch.tensor((-1.0, 1.0), device=like.device).repeat(config.head_dim // 2)
        return cls(
            kept, neighbours, angles.cos().to(like.dtype), (angles.sin() * sign).to(like.dtype)
        )

    def repeated(self, num_frames: int) -> "Places":
        """The same for B T frames in place of B clips."""
        if self.kept is None:
            return self
        return Places(
            *(
                x.repeat_interleave(num_frames, dim=0)
                for x in (self.kept, self.neighbours, self.cos, self.sin)
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
        nothing = tokens.new_zeros(()).expand(tokens.shape[0], 1, tokens.shape[2])
        index = self.neighbours.expand(tokens.shape[0], -1, -1)
        return torch.cat((nothing, tokens), dim=1).gather(1, index)

    def rotate(self, x: Tensor) -> Tensor:
        """Turn neighbouring pairs of channels by the token's angles: (B, N, heads, head_dim)."""
        swapped = x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2)
        return torch.addcmul(x * self.cos, swapped, self.sin)


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

    def forward(
        self, x: Tensor, shifted_x: Tensor, memory: Tensor, k: Tensor, v: Tensor, places: Places
    ) -> Tensor:
        """Read the edges of one frame: tokens and hidden state (B, N, D) -> (B, N, D).

        Args:
            shifted_x: What the shift brings of `x`. The shift leaves channels in their place, so
                that it may come before the lerp with the memory.
        """
        shifted_memory = places.shift(memory)
        r, g = (
            project(
                mix(mix(x, memory, of_x), mix(shifted_x, shifted_memory, of_x), own)
            )  # the token against its neighbours, each the frame's part and the memory's
            for project, of_x, own in (
                (self.receptance, self.time_mix_r, self.spatial_mix_r),
                (self.gate, self.time_mix_g, self.spatial_mix_g),
            )
        )
        rate = -self.time_decay.exp()
        read = bi_wkv_matrix(places.rotate(self._heads(r)), k, v, rate, self.time_first)
        normed = self.ln_x(read.flatten(2).flatten(0, 1)).view_as(x)
        return self.output(F.silu(g) * normed)

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.num_heads, -1))  # (B, N, heads, head_dim)


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

    def forward(self, x: Tensor, edges: Tensor, places: Places) -> tuple[Tensor, Tensor]:
        """Run over the frames: hidden states of all and the last cell state.

        Args:
            x: (B, T, N, D), and edges too.
            places: Of the clips' tokens.

        Returns:
            (B, T, N, D) and (B, N, D).
        """
        B, T, N, D = x.shape
        of_all = places.repeated(T)
        normed = self.ln1(x)
        # what does not wait for the memory is done for all frames at once
        shifted = of_all.shift(normed.flatten(0, 1)).unflatten(0, (B, T))
        keys, values = self.att.keys_values(self.ln_e(edges).flatten(0, 1), of_all)
        keys, values = keys.unflatten(0, (B, T)), values.unflatten(0, (B, T))
        gates = torch.sigmoid(edges) if self.edge_gate == "sigmoid" else edges
        hidden = cell = x.new_zeros(B, N, D)
        of_frames = []
        frames = (z.unbind(1) for z in (x, normed, shifted, keys, values, gates))
        for token, nx, shifted_nx, k, v, gate in zip(*frames, strict=True):
            a = token + self.att(nx, shifted_nx, self.ln_h(hidden), k, v, places)
            a = a + self.ffn(self.ln2(a), places.shift)
            cell = torch.addcmul(cell, gate, torch.tanh(a) + cell)
            hidden = torch.tanh(cell) * torch.sigmoid(a)
            of_frames.append(hidden)
        return torch.stack(of_frames, dim=1), cell


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
            x, cell = layer(x, e, places)
        state = torch.cat((x[:, -1, -1], cell[:, -1]), dim=1)  # (B, 2 D)
        return self.head(self.norm(state))

    def _edges(self, clips: Tensor) -> Tensor:
        """Edge maps of the clips as they were before they were normalised: (B, T, H, W)."""
        wide = clips.detach() if clips.dtype == torch.float64 else clips.detach().float()
        channel = (-1, 1, 1, 1)
        std = torch.tensor(self.config.std, device=clips.device, dtype=wide.dtype).view(channel)
        mean = torch.tensor(self.config.mean, device=clips.device, dtype=wide.dtype).view(channel)
        rgb = (255 * (wide * std + mean)).transpose(1, 2)  # (B, T, 3, H, W)
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
