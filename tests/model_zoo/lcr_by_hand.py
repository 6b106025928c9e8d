"""LCR's equations written out for one clip, token by token where that is plainer; for the tests.

Shapes: T frames, H x W patches, N = H W + 1 tokens, D channels.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from model_zoo.kernels.bi_wkv_matrix.reference import bi_wkv_matrix
from model_zoo.lcr import LCRConfig

NEIGHBOURS = ((0, -1), (0, 1), (-1, 0), (1, 0))  # of the quarters of a head: left, right, up, down


@dataclass(frozen=True)
class ByHand:
    state: dict[str, Tensor]
    config: LCRConfig
    H: int
    W: int

    def logits(self, clip: Tensor, edges: Tensor) -> Tensor:
        """Normalised clip (3, T, 16 H, 16 W) and its edge maps (T, 16 H, 16 W) to logits."""
        zero = torch.zeros(self.H * self.W + 1, self.config.dim, dtype=torch.float64)
        hidden, cell = [zero] * self.config.depth, [zero] * self.config.depth
        for t in range(clip.shape[1]):
            x = self.embedded(clip[:, t], "patch_embed", "cls_token")
            e = self.embedded(edges[t].expand(3, -1, -1), "edge_embed", "edge_cls_token")
            gate = e.sigmoid() if self.config.edge_gate == "sigmoid" else e
            for unit in range(self.config.depth):
                a = self.gates(f"layers.{unit}", x, hidden[unit], e)
                cell[unit] = gate * (a.tanh() + cell[unit]) + cell[unit]
                hidden[unit] = cell[unit].tanh() * a.sigmoid()
                x = hidden[unit]
        last = torch.cat((hidden[-1][-1], cell[-1][-1]))
        return self.norm(last, "norm") @ self.state["head.weight"].t() + self.state["head.bias"]

    def gates(self, unit: str, x: Tensor, hidden: Tensor, edges: Tensor) -> Tensor:
        """A of the specification."""
        att, ffn = f"{unit}.att", f"{unit}.ffn"
        nx, nh, ne = (
            self.norm(z, f"{unit}.{name}")
            for z, name in ((x, "ln1"), (hidden, "ln_h"), (edges, "ln_e"))
        )
        r = self.mapped(self.lerp(nx, nh, f"{att}.time_mix_r"), att, "receptance", "r")
        g = self.mapped(self.lerp(nx, nh, f"{att}.time_mix_g"), att, "gate", "g")
        k, v = self.mapped(ne, att, "key", "k"), self.mapped(ne, att, "value", "v")
        r, k, v = (self.by_head(z) for z in (self.rotated(r), self.rotated(k), v))
        rate = -self.state[f"{att}.time_decay"].exp()
        y = bi_wkv_matrix(r, k, v, rate, self.state[f"{att}.time_first"]).flatten(2)[0]
        weight, bias = self.state[f"{att}.ln_x.weight"], self.state[f"{att}.ln_x.bias"]
        y = F.group_norm(y, self.config.dim // self.config.head_dim, weight, bias, eps=1e-5)
        a = x + (F.silu(g) * y) @ self.state[f"{att}.output.weight"].t()
        na = self.norm(a, f"{unit}.ln2")
        k = self.mapped(na, ffn, "key", "k").relu() ** 2
        r = self.mapped(na, ffn, "receptance", "r")
        return a + r.sigmoid() * (k @ self.state[f"{ffn}.value.weight"].t())

    def norm(self, x: Tensor, name: str) -> Tensor:
        y = x - x.mean(-1, keepdim=True)
        y = y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt()
        return y * self.state[f"{name}.weight"] + self.state[f"{name}.bias"]

    def embedded(self, image: Tensor, name: str, cls_name: str) -> Tensor:
        """Patches row by row, then the class token: (3, 16 H, 16 W) -> (N, D)."""
        kernel = self.state[f"{name}.weight"][:, :, 0]
        patches = [
            (kernel * image[:, 16 * i : 16 * i + 16, 16 * j : 16 * j + 16]).sum((1, 2, 3))
            for i in range(self.H)
            for j in range(self.W)
        ]
        tokens = torch.stack(patches) + self.state[f"{name}.bias"]
        return torch.cat((tokens, self.state[cls_name].reshape(1, -1)))

    def lerp(self, a: Tensor, b: Tensor, name: str) -> Tensor:
        share = self.state[name].flatten()
        return share * a + (1 - share) * b

    def mapped(self, z: Tensor, block: str, kind: str, share: str) -> Tensor:
        """s(z) W."""
        mixed = self.lerp(z, self.shifted(z), f"{block}.spatial_mix_{share}")
        return mixed @ self.state[f"{block}.{kind}.weight"].t()

    def shifted(self, z: Tensor) -> Tensor:
        size = self.config.head_dim
        result = z.clone()
        for place in range(self.H * self.W):
            for c in range(self.config.dim):
                down, right = NEIGHBOURS[c % size // (size // 4)]
                i, j = place // self.W + down, place % self.W + right
                inside = 0 <= i < self.H and 0 <= j < self.W
                result[place, c] = z[i * self.W + j, c] if inside else 0
        return result

    def rotated(self, z: Tensor) -> Tensor:
        size = self.config.head_dim
        result = z.clone()
        for place in range(self.H * self.W):
            for c in range(0, self.config.dim, 2):
                quarter, pair = size // 4, c % size // 2
                along = place // self.W if pair < quarter else place % self.W
                angle = along * 10000 ** -(pair % quarter / quarter)
                cos, sin = math.cos(angle), math.sin(angle)
                a, b = z[place, c], z[place, c + 1]
                result[place, c], result[place, c + 1] = a * cos - b * sin, a * sin + b * cos
        return result

    def by_head(self, z: Tensor) -> Tensor:
        return z.reshape(1, len(z), -1, self.config.head_dim)
